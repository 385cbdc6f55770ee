"""The commands of an embedded stack, and what its processes are told."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from minirec.cli.data_folder import DataFolder
from minirec.cli.processes import commands, environment, only_reached_from_here, with_this_python
from minirec.settings import Settings


def test_commands_are_run_by_this_python_whatever_is_on_path() -> None:
    for command in commands("127.0.0.1", 8123).values():
        python, dash_m, module, *_ = with_this_python(command)
        assert (python, dash_m) == (sys.executable, "-m")
        assert importlib.util.find_spec(module) is not None


def test_the_processes_find_their_settings(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    base = {"MINIREC_BROKER_URL": "redis://other", "MINIREC_SHARD_SIZE": "16", "OMP_WAIT_POLICY": "ACTIVE"}
    told = environment(base, DataFolder(tmp_path / "data"), tmp_path / "models", "redis://:pw@127.0.0.1:1/0")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MINIREC_BROKER_URL", raising=False)
    settings = Settings()
    assert settings.redis_url == "redis://:pw@127.0.0.1:1/0"
    assert settings.blob_url == (tmp_path / "data" / "blobs").as_uri()
    assert settings.models_dir == tmp_path / "models"
    assert settings.shard_size == 16
    assert "MINIREC_BROKER_URL" not in told
    assert told["OMP_WAIT_POLICY"] == "ACTIVE", "the user's own choice stays"
    assert environment({}, DataFolder(tmp_path), tmp_path, "r")["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
    + [("10.0.0.5", False), ("example.org", False), ("localhost.example.org", False)],
)
def test_what_listens_for_this_machine_only_answers_under_its_names_only(
    tmp_path: Path, host: str, only_here: bool
) -> None:
    assert only_reached_from_here(host) is only_here
    told = environment({}, DataFolder(tmp_path), tmp_path, "r", only_this_machine=only_here)
    assert told.get("MINIREC_ALLOWED_HOSTS") == ("localhost" if only_here else None)


def test_the_stack_s_own_key_is_one_of_the_service_s(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    told = environment({"MINIREC_API_KEYS": "mine", "MINIREC_ALLOWED_HOSTS": "a.test"}, folder, tmp_path, "r")
    assert told["MINIREC_API_KEYS"] == f"mine,{folder.own_key()}"
    assert told["MINIREC_ALLOWED_HOSTS"] == "a.test"
