"""What `minirec doctor` finds, on the real machine and with things that are really wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from minirec import __version__
from minirec.cli.checks import machine, models
from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.main import app


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the look at this user's own cache, stacks and network out."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MINIREC_REDIS_URL", raising=False)
    return tmp_path / "hf" / "hub"


def doctor() -> tuple[dict[str, dict[str, Any]], int]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    found = {each["name"]: each for each in report["findings"]}
    assert report["counts"]["problem"] == sum(each["state"] == "problem" for each in report["findings"])
    return found, result.exit_code


def model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(2_000))


@pytest.fixture
def dead_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        yield taken.getsockname()[1]


def test_it_says_what_is_there_and_what_would_run_where(cache: Path) -> None:
    model(cache / "models--org--small" / "snapshots" / "abc")
    model(DataFolder.default().models / "team" / "tiny")
    found, _ = doctor()
    assert found["minirec"]["facts"]["version"] == __version__
    assert found["python"]["state"] == "ok"
    assert found["libraries"]["facts"]["versions"]["torch"]
    assert found["redis server"]["state"] == "ok", "minirec[up] brings one"
    assert found["cpu"]["facts"]["cores"] >= 1
    assert found["what runs where"]["facts"]["device"] in ("cpu", "cuda")
    assert found["what runs where"]["facts"]["samples_at_once"] == 16
    assert found["models in the cache"]["facts"]["models"] == {"org/small": 2_002}
    assert found["local models"]["facts"]["models"] == {"team/tiny": 2_002}
    assert found["hugging face hub"]["state"] == "ok", "offline, and there is a model"


def test_a_problem_ends_it_with_status_1_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    monkeypatch.setenv("MINIREC_REDIS_URL", f"redis://:hush@127.0.0.1:{dead_port}/0")
    monkeypatch.setenv("MINIREC_DTYPE", "float8")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "2 problems" in result.stdout
    assert "MINIREC_DTYPE='float8'" in result.stdout
    assert "Start it, or correct MINIREC_REDIS_URL." in result.stdout
    assert "hush" not in result.output


def test_a_redis_that_forgets_is_a_problem(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("MINIREC_REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as server:
        before = {name: server.config_get(name)[name] for name in ("maxmemory-policy", "appendonly")}
        try:
            server.config_set("maxmemory-policy", "allkeys-lru")
            found, code = doctor()
            assert (found["redis server"]["state"], code) == ("problem", 1)
            assert "noeviction" in found["redis server"]["advice"]
            server.config_set("maxmemory-policy", "noeviction")
            server.config_set("appendonly", "no")
            assert doctor()[0]["redis server"]["state"] == "warning"
        finally:
            for name, value in before.items():
                server.config_set(name, value)


def test_a_stack_that_does_not_answer_is_a_problem(dead_port: int) -> None:
    folder = DataFolder.default()
    stack = RunningStack(f"http://127.0.0.1:{dead_port}", str(folder.path), "/models", 42, {}, "/data/key")
    with folder.locked():
        folder.write_note(stack)
        found, code = doctor()
    assert (found["stack here"]["state"], code) == ("problem", 1)
    assert "kill 42" in found["stack here"]["advice"]
    assert found["service"]["state"] == "problem"


def test_full_disks_and_little_memory_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for bound, state in (("LITTLE", "warning"), ("NO", "problem")):
        for what in ("DISK", "MEMORY"):
            monkeypatch.setattr(machine, f"{bound}_{what}", 1 << 60)
        assert machine.memory().state == state
        assert machine.disk("data", tmp_path / "not" / "there").state == state


def test_a_container_has_the_memory_that_it_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUP_LIMIT", limit)
    for text, bytes_ in ((f"{5 << 20}\n", 5 << 20), ("max\n", None)):
        limit.write_text(text)
        assert machine.cgroup_limit() == bytes_
    limit.write_text(f"{5 << 20}\n")
    assert machine.memory().facts["total_bytes"] == 5 << 20
    assert machine.memory().state == "problem"


def test_a_hub_that_is_not_reached_is_a_warning(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{dead_port}")
    found = models.hub(cached=True)
    assert found.state == "warning"
    assert "not reached" in found.found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert models.hub(cached=False).state == "warning"
