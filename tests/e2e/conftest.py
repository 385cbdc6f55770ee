"""A whole stack, as `minirec up` starts it: its own Redis, uvicorn, Celery workers and janitor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import reward_package, tiny_model, write_files, write_prompts
from tests.e2e.stack import Stack

START_SECONDS = 120


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded stack with the local model `tiny`, an installed reward, small shards and short leases."""
    data_dir, files = tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("files")
    tiny_model(data_dir / "models")
    write_files(files)
    write_prompts(files)
    sizes = {"LEASE_SECONDS": "3", "JANITOR_SECONDS": "0.5", "SHARD_SIZE": "16", "MICRO_BATCH": "8"}
    sizes["WEBHOOK_PRIVATE_ADDRESSES"] = "true"
    environment = os.environ | {f"MINIREC_{name}": value for name, value in sizes.items()}
    rewards = reward_package(tmp_path_factory.mktemp("packages"))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(rewards), os.environ.get("PYTHONPATH"))))
    with started(data_dir, environment) as (url, pid):
        yield Stack(url, pid, data_dir, files)


@contextmanager
def started(data_dir: Path, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run `minirec up` in a folder; yields its address and process id."""
    command = [sys.executable, "-m", "minirec.cli.main", "up", "--data-dir", str(data_dir), "--port", "0"]
    with open(data_dir / "up.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield _wait_for_url(process, data_dir), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _wait_for_url(process: subprocess.Popen[bytes], data_dir: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if (data_dir / "up.json").exists():
            return str(json.loads((data_dir / "up.json").read_text())["url"])
        time.sleep(0.2)
    raise AssertionError(f"the stack did not start:\n{(data_dir / 'up.log').read_text()}")
