"""Real processes for tests: the service under uvicorn, the janitor, a server that can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minirec.cli.embedded_redis import EmbeddedRedis, find_server
from minirec.cli.processes import API_HTTP
from minirec.settings import Settings

PATIENCE = 30.0


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings."""
    given = {
        "redis_url": settings.redis_url,
        "blob_url": settings.blob_url,
        "api_keys": ",".join(settings.api_keys),
        "janitor_seconds": str(settings.janitor_seconds),
        "lease_seconds": str(settings.lease_seconds),
        "broker_url": settings.broker_url or settings.redis_url,
    }
    if settings.heartbeat_file is not None:
        given["heartbeat_file"] = str(settings.heartbeat_file)
    return os.environ | {f"MINIREC_{name.upper()}": value for name, value in given.items()}


@contextmanager
def process(
    arguments: list[str], settings: Settings, log: Path, *, temporary: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process, stopped at the end if it still runs; `temporary` is where it puts temporary files."""
    variables = environment(settings)
    if temporary is not None:
        temporary.mkdir(exist_ok=True)
        variables["TMPDIR"] = str(temporary)
    with log.open("ab") as sink:
        started = subprocess.Popen([sys.executable, *arguments], env=variables, stdout=sink, stderr=sink)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@contextmanager
def running_service(
    settings: Settings, log: Path, *, temporary: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[str]:
    """The service under uvicorn, as in production; yields its address."""
    port = free_port()
    command = ["-m", "uvicorn", "minirec.service.app:create_app", "--factory", "--host", host, "--port", str(port)]
    command += API_HTTP
    with process(command, settings, log, temporary=temporary) as server:

        def listens() -> bool:
            assert server.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, "the service")
        yield f"http://127.0.0.1:{port}"


class RestartableRedis:
    """A server with an append-only file, that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedRedis(find_server(), folder, free_port())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        self._process = subprocess.Popen(self.server.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert self._process.stdin is not None
        self._process.stdin.write(self.server.configuration())
        self._process.stdin.close()
        wait_until(self.server.answers, "the Redis server")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
