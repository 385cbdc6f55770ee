"""`minirec up` in a folder of its own, its processes by their role, and what it leaves behind."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from minirec.client import MiniRec

LEASE_SECONDS = 3.0
SETTINGS = {"LEASE_SECONDS": LEASE_SECONDS, "JANITOR_SECONDS": 0.5, "SHARD_SIZE": 16, "MICRO_BATCH": 8}
MARK = "MINIREC_CHAOS_RUN"
"""Variable in the environment of every process of a run, by which those left behind are found."""
PATIENCE = 180.0
ROLES = ("gpu-child", "cpu-child", "gpu-parent", "cpu-parent", "janitor", "api", "redis", "supervisor")


@dataclass
class ChaosStack:
    """One data folder, and the stack that runs in it, now under this supervisor and now under another."""

    folder: Path
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None
    redis_killed: list[float] = field(default_factory=list)
    """When Redis was killed, alone or with all others, in seconds since 1970."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def scratch(self) -> Path:
        """The TMPDIR of all its processes."""
        return self.folder / "tmp"

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.scratch.mkdir(exist_ok=True)
        environment = os.environ | {f"MINIREC_{name}": str(value) for name, value in SETTINGS.items()}
        environment |= {MARK: self.run, "TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "minirec.cli.main", "up", "--data-dir", str(self.folder)]
        with open(self.folder / "up.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        until(self.healthy, "the stack to be ready")

    def stop(self) -> None:
        """Stop it as a user does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)

    def client(self) -> MiniRec:
        """A client that comes back as often as it takes."""
        key = (self.folder / "key").read_text().strip()
        return MiniRec(base_url=self.url, api_key=key, max_retries=60)

    def processes(self) -> dict[str, psutil.Process]:
        """Every process that is there now, by its role."""
        assert self.process is not None
        found = {}
        try:
            supervisor = psutil.Process(self.process.pid)
            children = supervisor.children(recursive=True)
        except psutil.NoSuchProcess:
            return {}
        found["supervisor"] = supervisor
        for process in children:
            try:
                role = role_of(process, self.process.pid)
            except psutil.Error:
                continue
            if role is not None:
                found[role] = process
        return found

    def healthy(self) -> bool:
        """Whether the service is ready and nobody is missing."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"minirec up ended:\n{(self.folder / 'up.log').read_text()[-3000:]}")
        try:
            ready = httpx2.get(f"{self.url}/health/ready", timeout=5.0, trust_env=False).is_success
        except httpx2.TransportError:
            return False
        return ready and set(self.processes()) == set(ROLES)

    def left_processes(self) -> list[str]:
        """Processes of this run, in words."""
        return [
            f"{process.pid} {' '.join(process.cmdline())}"
            for process in psutil.process_iter()
            if self._is_mine(process)
        ]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.run and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def left_files(self) -> list[str]:
        """Temporary files, and blobs that were not written to their end."""
        partial = (self.folder / "blobs").rglob("*.partial")
        return sorted(str(path) for path in (*self.scratch.iterdir(), *partial))

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("logs/*.log"))

    def redis_url(self) -> str:
        return (self.folder / "redis-url").read_text().strip()


def role_of(process: psutil.Process, supervisor: int) -> str | None:
    """Return what a process of the stack is; None for the guard and for helpers."""
    words = process.cmdline()
    if "minirec.worker.app" in words:
        queue = "gpu" if "gpu,train" in words else "cpu"
        return f"{queue}-parent" if process.ppid() == supervisor else f"{queue}-child"
    if process.ppid() != supervisor:
        return None
    if "minirec.service.janitor" in words:
        return "janitor"
    if "uvicorn" in words:
        return "api"
    # The server writes its own title over its command line.
    return "redis" if process.name().startswith(("redis", "valkey")) else None


def until(reached: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> float:
    """Wait for something; return how many seconds that took."""
    begun = time.monotonic()
    while not reached():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
    return time.monotonic() - begun


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
