"""One stack per folder, and other shells find it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minirec.cli.connection import Connection
from minirec.cli.data_folder import DataFolder, FolderInUseError, RunningStack
from minirec.cli.errors import CommandError
from minirec.client import ConfigurationError, MiniRec
from minirec.client.local import enter, entry_of, registry
from minirec.settings import data_home

STACK = RunningStack("http://127.0.0.1:8123", "/data", "/models", 42, {"api": 43}, "/data/key")


@pytest.mark.slow
def test_a_second_stack_is_refused_with_the_place_of_the_first(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked():
        folder.write_note(STACK)
        refused = pytest.raises(FolderInUseError, match=r"at http://127.0.0.1:8123 \(process 42\).*--data-dir")
        with refused, DataFolder(tmp_path).locked():
            pass
    with folder.locked():
        pass


@pytest.mark.slow
def test_another_process_is_refused_too(tmp_path: Path) -> None:
    code = """
import sys
from dataclasses import replace
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


def test_a_folder_has_one_key_that_only_its_user_can_read(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    key = folder.own_key()
    assert len(key) >= 40
    assert folder.key_file.stat().st_mode & 0o777 == 0o600
    assert folder.own_key() == key
    assert DataFolder(tmp_path / "other").own_key() != key


@pytest.mark.parametrize(("mode", "text"), [(0o644, "k" * 43), (0o640, "k" * 43), (0o600, ""), (0o600, "short")])
def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path, mode: int, text: str) -> None:
    folder = DataFolder(tmp_path)
    folder.key_file.write_text(text)
    folder.key_file.chmod(mode)
    with pytest.raises(CommandError, match="Remove .* to have another one made"):
        folder.own_key()


@pytest.fixture
def unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing names a service, and this user runs none."""
    for name in ("MINIREC_BASE_URL", "MINIREC_API_KEY", "MINIREC_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


def found(**options: Any) -> tuple[str, str | None]:
    with MiniRec(**options) as client:
        config = client._transport.config
        return config.base_url, config.api_key


@contextmanager
def running(path: Path, port: int) -> Iterator[DataFolder]:
    """A folder that looks as if a stack ran there."""
    folder = DataFolder(path)
    key_file = str(folder.key_file)
    with folder.locked():
        folder.own_key()
        stack = replace(STACK, url=f"http://127.0.0.1:{port}", data_dir=str(path), key_file=key_file, started_at=port)
        with folder.announced(stack):
            yield folder


@pytest.mark.usefixtures("unset")
def test_the_sdk_finds_the_stack_and_its_key_by_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_DATA_DIR", str(tmp_path))
    folder = DataFolder(tmp_path)
    folder.write_note(replace(STACK, key_file=str(folder.key_file)))
    key = folder.own_key()
    with pytest.raises(ConfigurationError, match="no stack of yours runs in .*minirec up"):
        found()  # a note without a lock is one of a stack that was killed
    with folder.locked():
        assert found() == (STACK.url, key)
        assert found(base_url=STACK.url + "/") == (STACK.url, key)
        assert found(api_key="another") == (STACK.url, "another")
        assert found(base_url="http://other.test") == ("http://other.test", None), "the key goes to its own stack only"
        monkeypatch.setenv("MINIREC_BASE_URL", "http://127.0.0.1:8124")
        assert found() == ("http://127.0.0.1:8124", None)


@pytest.mark.usefixtures("unset")
def test_a_stack_is_found_whatever_its_folder_is_and_none_is_made_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no stack of yours runs on this machine.*MiniRec\.local"):
        MiniRec()
    with running(tmp_path / "some" / "where", 8123) as folder:
        assert found() == ("http://127.0.0.1:8123", folder.own_key())
        assert Connection(None, None).client().base_url == "http://127.0.0.1:8123"
        assert registry().stat().st_mode & 0o777 == 0o700
    assert list(registry().iterdir()) == []
    with pytest.raises(ConfigurationError, match="no stack of yours runs on this machine"):
        MiniRec()


@pytest.mark.usefixtures("unset")
def test_of_two_stacks_neither_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with running(one, 8123) as folder, running(two, 8124) as other:
        for choose in (MiniRec, Connection(None, None).client):
            with pytest.raises(ConfigurationError) as caught:
                choose()
            assert f"http://127.0.0.1:8123  data in {one}, process 42" in str(caught.value)
            assert f"http://127.0.0.1:8124  data in {two}, process 42" in str(caught.value)
            assert "MINIREC_DATA_DIR" in str(caught.value)
            assert "base_url=" in str(caught.value)
        assert found(base_url="http://127.0.0.1:8124/") == ("http://127.0.0.1:8124", other.own_key())
        monkeypatch.setenv("MINIREC_DATA_DIR", str(one))
        assert found() == ("http://127.0.0.1:8123", folder.own_key())


@pytest.mark.usefixtures("unset")
def test_what_a_killed_stack_left_in_the_registry_is_not_believed_and_goes(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "killed")
    with running(folder.path, 8123):
        pass
    folder.write_note(STACK)
    enter(folder.path)
    (registry() / "nonsense.json").write_text("[]")
    with running(tmp_path / "alive", 8124):
        assert len(list(registry().iterdir())) == 3
        assert found()[0] == "http://127.0.0.1:8124"
        assert [entry.name for entry in registry().iterdir()] == [entry_of(tmp_path / "alive").name]


@pytest.mark.usefixtures("unset")
def test_the_usual_folder_needs_no_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with running(DataFolder.default().path, 8123):
        assert found()[0] == "http://127.0.0.1:8123"
