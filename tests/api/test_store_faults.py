"""Redis that hangs, is full or read-only, and a disk without room: a typed answer, and nobody else is held up."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import redis

from minirec.settings import Settings
from minirec.store.blobs import BlobStore
from minirec.store.contents import LOCK_SECONDS, content_lock
from tests.api.conftest import KEY, Service
from tests.api.processes import RestartableRedis, running_service, wait_until

HANGING = 60
"""Requests at once: more than the service has threads."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestartableRedis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RestartableRedis(folder)
    server.start()
    yield server
    server.signal(signal.SIGCONT)
    server.kill()


@pytest.fixture
def settings(server: RestartableRedis, tmp_path: Path) -> Settings:
    return Settings(redis_url=server.url, blob_url=(tmp_path / "blobs").as_uri(), api_keys=(KEY,))


def client(url: str, timeout: float) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx2.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)


def test_a_redis_that_hangs_costs_seconds_and_holds_nobody_up(
    server: RestartableRedis, settings: Settings, tmp_path: Path
) -> None:
    with running_service(settings, tmp_path / "log") as url, client(url, 20) as http, client(url, 4) as other:
        assert http.get("/v1/datasets").status_code == 200
        server.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(HANGING) as pool:
            waiting = [pool.submit(http.get, "/v1/datasets") for _ in range(HANGING)]
            # Answered within their timeout, which is shorter than that of Redis.
            assert other.get("/version").status_code == 200
            assert other.get("/health/live").status_code == 200
            answers = [future.result() for future in waiting]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "store_unavailable")}
        assert http.get("/health/ready").json()["checks"]["redis"] != "ok"
        server.signal(signal.SIGCONT)
        wait_until(lambda: http.get("/v1/datasets").status_code == 200, "an answer")


def test_a_redis_at_its_memory_limit_is_said_and_passes(
    server: RestartableRedis, settings: Settings, tmp_path: Path
) -> None:
    with (
        running_service(settings, tmp_path / "log") as url,
        client(url, 20) as http,
        redis.Redis.from_url(server.url) as admin,
    ):
        admin.config_set("maxmemory", 1_000_000)
        answer = http.post("/v1/keys", json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert int(answer.headers["retry-after"]) > 0
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert "memory is full" in ready.json()["checks"]["redis"]
        admin.config_set("maxmemory", 0)
        assert http.get("/health/ready").status_code == 200
        assert http.post("/v1/keys", json={"name": "x"}).status_code == 201


@pytest.mark.parametrize(
    ("number", "status", "code"), [(errno.ENOSPC, 507, "storage_full"), (errno.EIO, 503, "store_unavailable")]
)
def test_a_disk_that_takes_no_upload_is_said_and_nothing_is_left(
    service: Service, monkeypatch: pytest.MonkeyPatch, number: int, status: int, code: str
) -> None:
    def full(self: BlobStore, name: str, source: Path) -> None:
        raise OSError(number, os.strerror(number), name)

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "put_file", full)
        samples, items = service.files
        files = {"samples": samples.read_bytes(), "items": items.read_bytes()}
        answer = service.http.post("/v1/datasets", files=files, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert service.http.get("/v1/datasets").json()["data"] == []
    answer = service.http.post("/v1/datasets", files=files, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201, "the same request succeeds once there is room"


def test_a_content_that_a_lost_process_held_is_free_soon(make_service: Callable[..., Service]) -> None:
    service = make_service()
    dataset = service.upload()
    key = f"{service.store.prefix}lock:content:{dataset['content_hash']}"
    with content_lock(service.store, dataset["content_hash"]):
        assert 0 < service.store.redis.pttl(key) <= 1000 * LOCK_SECONDS <= 15_000
        answer = service.http.post(
            "/v1/selections", json={"dataset_id": dataset["id"], "model": {"source": "local", "id": "tiny"}, "size": 6}
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_busy")
        assert answer.headers["retry-after"] == "2"
    assert not service.store.redis.exists(key)
