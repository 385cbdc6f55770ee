"""One stack per folder, and other shells find it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minirec.cli.data_folder import DataFolder, FolderInUseError, RunningStack
from minirec.settings import data_home

STACK = RunningStack("http://127.0.0.1:8123", "/data", "/models", 42, {"api": 43})


def test_a_second_stack_is_refused_with_the_place_of_the_first(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked():
        folder.write_note(STACK)
        refused = pytest.raises(FolderInUseError, match=r"at http://127.0.0.1:8123 \(process 42\).*--data-dir")
        with refused, DataFolder(tmp_path).locked():
            pass
    with folder.locked():
        pass


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from minirec.cli.data_folder import DataFolder
with DataFolder(Path(sys.argv[1])).locked():
    pass
"""
    with DataFolder(tmp_path).locked():
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "FolderInUseError" in done.stderr


def test_a_running_stack_is_found_and_one_that_has_gone_is_not(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.running() is None
    with folder.locked():
        assert folder.running() is None
        folder.write_note(STACK)
        assert DataFolder(tmp_path).running() == STACK
        assert folder.note.stat().st_mode & 0o777 == 0o600, "it may hold the password of Redis"
    assert folder.running() is None, "the note of a stack that was killed is not believed"


def test_looking_for_a_stack_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked():
        pass
    folder.running()
    with folder.locked():
        pass


def test_a_note_that_is_no_note_is_no_stack(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked():
        for text in ("", "[]", '{"url": 1}'):
            folder.note.write_text(text)
            assert folder.running() is None


def test_nobody_else_reads_the_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "new")
    with folder.locked():
        assert folder.path.stat().st_mode & 0o077 == 0
        assert folder.redis.stat().st_mode & 0o077 == 0


def test_the_usual_folder_is_the_settings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIREC_DATA_DIR", raising=False)
    assert DataFolder.default().path == data_home()
    monkeypatch.setenv("MINIREC_DATA_DIR", "/elsewhere")
    assert DataFolder.default().path == Path("/elsewhere")
