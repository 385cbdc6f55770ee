"""Folders for temporary files that end with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minirec import scratch

USER = """
import os, sys, tempfile, time
from minirec.scratch import use_own_scratch
use_own_scratch()
tempfile.mkdtemp(prefix="pymp-")
if os.fork() == 0:
    time.sleep(600)
print(os.environ["TMPDIR"], flush=True)
time.sleep(600)
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(scratch.SHARED, str(tmp_path))
    return tmp_path


def test_what_a_killed_process_leaves_is_removed_and_what_a_live_one_has_is_not(shared: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", USER], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        assert folder.parent == shared
        assert [path.name[:5] for path in folder.iterdir() if path.name != scratch.LOCK] == ["pymp-"]
        assert scratch.remove_abandoned() == 0
        process.kill()
        process.wait()
        assert scratch.remove_abandoned() == 0, "a process that it forked lives"
        assert folder.exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    while folder.exists():  # The system takes a moment to give the lock up.
        scratch.remove_abandoned()
    assert list(shared.iterdir()) == []


def test_a_folder_that_is_about_to_be_locked_is_left_alone(shared: Path) -> None:
    folder = shared / f"{scratch.PREFIX}x"
    folder.mkdir()
    assert scratch.remove_abandoned() == 0
    os.utime(folder, (0, 0))
    assert scratch.remove_abandoned() == 1
