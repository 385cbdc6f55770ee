"""The embedded stack comes up whole or says why not, and takes its note with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from minirec.cli import stack as module
from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.stack import StartError, embedded_stack
from minirec.cli.up import print_ready

API = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()
    def log_message(self, *arguments): pass
open("environment", "w").write(os.environ["MINIREC_REDIS_URL"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: str) -> None:
    script = tmp_path / "api.py"
    script.write_text(api)
    monkeypatch.setattr(module, "commands", lambda host, port: {"api": ("python", str(script), str(port))})


def test_it_is_ready_when_it_says_so_and_its_redis_answers(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, API)
    with embedded_stack(folder, port=0, models_dir=None) as (stack, _):
        assert folder.running() == stack
        assert stack.pid == os.getpid()
        assert set(stack.pids) == {"redis", "api"}
        assert stack.models_dir == str(folder.models)
        with redis.Redis.from_url((folder.path / "environment").read_text()) as client:
            assert client.ping()
        pids = list(stack.pids.values())
    assert folder.running() is None
    assert not folder.note.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_was_stored_is_there_at_the_next_start(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, API)
    with (
        embedded_stack(folder, port=0, models_dir=None),
        redis.Redis.from_url((folder.path / "environment").read_text()) as client,
    ):
        client.set("job", "queued")
    with (
        embedded_stack(folder, port=0, models_dir=None),
        redis.Redis.from_url((folder.path / "environment").read_text()) as client,
    ):
        assert client.get("job") == b"queued"


def test_a_process_that_does_not_start_is_told_with_the_end_of_its_log(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, "raise SystemExit('the disk is full')")
    monkeypatch.setattr(module, "TRIES", 1)
    with (
        pytest.raises(StartError, match=r"(?s)api does not start.*the disk is full"),
        embedded_stack(folder, port=0, models_dir=None),
    ):
        pass
    assert folder.running() is None


def test_missing_libraries_are_named_with_the_extra_that_brings_them(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEEDED", ("uvicorn", "no_such_library"))
    with (
        pytest.raises(StartError, match=r"not installed: no_such_library.*pip install 'minirec\[up\]'"),
        embedded_stack(folder, port=0, models_dir=None),
    ):
        pass


def test_settings_that_cannot_be_are_named_before_anything_starts(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIREC_SHARD_SIZE", "7")
    monkeypatch.setenv("MINIREC_TRAIN_PROCESSES", "two")
    with pytest.raises(StartError) as caught, embedded_stack(folder, port=None, models_dir=None):
        pass
    assert "MINIREC_SHARD_SIZE='7' should be a multiple of 8" in str(caught.value)
    assert "MINIREC_TRAIN_PROCESSES='two' should be a valid integer" in str(caught.value)
    assert not folder.path.exists()


@pytest.mark.slow
def test_the_end_of_a_log_has_no_traceback(folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tmp_path, "def run():\n    raise ValueError('bad address')\nrun()\n")
    with pytest.raises(StartError) as caught, embedded_stack(folder, port=None, models_dir=None):
        pass
    assert "ValueError: bad address" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "line 2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on any port")
def test_a_port_for_root_is_not_called_taken() -> None:
    with pytest.raises(StartError, match="port 80 is not for this user; ports from 1024 on are"):
        module.choose_port(80)


def test_the_data_folder_is_named_for_other_shells_where_they_would_not_find_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("MINIREC_DATA_DIR", raising=False)

    def printed_for(folder: DataFolder) -> str:
        stack = RunningStack("http://127.0.0.1:1", str(folder.path), "/models", 1, {}, "/data/key")
        with folder.locked(), folder.announced(stack):
            print_ready(stack, folder)
            if folder.path.name == "first":
                printed = capsys.readouterr().err
                assert f"Data    {folder.path}" in printed
                assert "MINIREC_DATA_DIR" not in printed, "the only one is found by itself"
                return printed_for(DataFolder(tmp_path / "my [data]"))
        return capsys.readouterr().err

    assert f"export MINIREC_DATA_DIR='{tmp_path}/my [data]'" in printed_for(DataFolder(tmp_path / "first"))
