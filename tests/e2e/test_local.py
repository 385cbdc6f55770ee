"""Stacks that scripts start for themselves end with them, however that comes about."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from minirec import AsyncMiniRec, MiniRec
from minirec.client import StackError
from minirec.client.local import stack_in

SCRIPT = """
import json, sys
from minirec import MiniRec
client = MiniRec.local(data_dir=sys.argv[1])
assert client.version().version
stack = client._stack.stack
print(json.dumps([stack.pid, *stack.pids.values()]), flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
"""


def gone(pids: list[int], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(map(psutil.pid_exists, pids))


def test_a_stack_ends_with_the_interpreter_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "end"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert gone(json.loads(done.stdout), 0)
    assert stack_in(tmp_path) is None


def test_a_stack_ends_when_its_script_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        pids = json.loads(script.stdout.readline())
        assert all(map(psutil.pid_exists, pids))
        script.send_signal(signal.SIGKILL)
    assert gone(pids)


def test_a_folder_in_use_is_joined_and_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def join() -> str:
        async with await AsyncMiniRec.local(data_dir=tmp_path) as joined:
            return (await joined.version()).version

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # other tests' stacks are in the usual registry
    with ThreadPoolExecutor(2) as pool:  # of two that start at once, one is joined
        clients = list(pool.map(lambda _: MiniRec.local(data_dir=tmp_path), range(2)))
    with clients[0], clients[1]:
        assert clients[0].base_url == clients[1].base_url
        assert asyncio.run(join()) == clients[0].version().version
        assert clients[1].version().version, "it still runs"
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert MiniRec().base_url == clients[0].base_url, "others find it by the registry"


def test_a_stack_that_does_not_come_up_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_SHARD_SIZE", "seven")
    with pytest.raises(StackError, match="MINIREC_SHARD_SIZE='seven' should be a valid integer"):
        MiniRec.local(data_dir=tmp_path)
