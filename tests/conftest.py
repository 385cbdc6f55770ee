"""What all tests share: the optional golden data, and a real Redis-compatible server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two tests at a time on two cores: torch must not spin on both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SLOW_FOLDERS = {"api", "chaos", "clients", "contract", "e2e", "images", "worker", "benchmarks", "training"}
"""Folders of tests that start servers, workers or containers, or train models: all of them are slow."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` leaves out."""
    for item in items:
        if SLOW_FOLDERS & set(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _own_registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Stacks that the developer runs are none of the tests' business, and the other way round."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the golden numbers and real data sets that lie beside the repository on developers' machines."""
    if not SHARED.is_dir():
        pytest.skip("needs the golden numbers and data sets, which are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private server with an append-only file, like the one `minirec up` starts."""
    from minirec.cli.embedded_redis import EmbeddedRedis, find_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = EmbeddedRedis(find_server(), tmp_path_factory.mktemp("redis"), port)
    process = subprocess.Popen(server.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(server.configuration())
    process.stdin.close()
    try:
        deadline = time.monotonic() + 20
        while not server.answers():
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)
        yield server.url
    finally:
        process.terminate()
        process.wait(20)
