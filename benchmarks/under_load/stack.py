"""The stack under load, and what is measured of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from minirec.client import MiniRec


@dataclass
class Table:
    """What was measured, printed as it comes."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, measured: str, aim: str = "") -> None:
        """Add a row."""
        self.rows.append((what, measured, aim))
        print(f"| {what} | {measured} | {aim} |", flush=True)


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    url: str
    key: str
    folder: Path
    process: psutil.Process

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def http(self) -> httpx2.Client:
        """Return a client of bare requests."""
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=300, trust_env=False)

    def client(self) -> MiniRec:
        """Return a client that may wait long."""
        return MiniRec(base_url=self.url, api_key=self.key, timeout=1200)

    def family(self, *words: str) -> list[psutil.Process]:
        """Return the processes with all of these words in their command line."""
        found = []
        for process in self.process.children(recursive=True):
            with suppress(psutil.Error):
                if all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
        return found

    @contextmanager
    def without_workers(self, queues: str = "cpu") -> Iterator[None]:
        """Stop the workers of some queues for a while: what is started there waits."""
        stopped = self.family("minirec.worker.app", f"-Q {queues}")
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                process.send_signal(signal.SIGCONT)


@contextmanager
def stack() -> Iterator[Stack]:
    """Run `minirec up` in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="minirec-load-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "minirec.cli.main", "up", "--data-dir", str(folder), "--port", "0"]
        environment = os.environ | {"MINIREC_TORCH_THREADS": "1", "MINIREC_MAX_UPLOAD_BYTES": str(4 << 30)}
        with (folder / "up.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            note = folder / "up.json"
            while not note.exists():
                if process.poll() is not None:
                    raise SystemExit((folder / "up.log").read_text())
                time.sleep(0.2)
            url = json.loads(note.read_text())["url"]
            running = Stack(url, (folder / "key").read_text().strip(), folder, psutil.Process(process.pid))
            while not _ready(url):
                time.sleep(0.2)
            yield running
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def _ready(url: str) -> bool:
    with suppress(httpx2.TransportError):
        return bool(httpx2.get(f"{url}/health/ready", trust_env=False).is_success)
    return False


class Memory:
    """The largest memory of the API's processes, sampled while a block runs."""

    def __init__(self, running: Stack) -> None:
        self._processes = running.family("uvicorn")
        self._end = threading.Event()
        self.before = self._now()
        self.largest = self.before

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"{self.before / 1e6:.0f} MB before, at most {self.largest / 1e6:.0f} MB"

    def _look(self) -> None:
        while not self._end.wait(0.1):
            self.largest = max(self.largest, self._now())

    def _now(self) -> int:
        everybody = [child for one in self._processes for child in (one, *one.children(recursive=True))]
        return sum(process.memory_info().rss for process in everybody)
