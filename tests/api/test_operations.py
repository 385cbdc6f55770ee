"""What operators rely on: health, version, metrics, logs, and a process without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from minirec import __version__
from minirec.api_schemas import Worker
from minirec.store.counters import LEASES_EXPIRED, UNIT_SECONDS, UNITS
from minirec.store.workers import SILENT_SECONDS
from tests.api.conftest import Service
from tests.api.processes import running_service
from tests.api.stand_in import StandIn


def metrics(service: Service) -> dict[tuple[str, ...], float]:
    """Every sample, by name and the values of its labels, which are sorted by name."""
    response = service.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_version(service: Service) -> None:
    assert service.http.get("/version").json() == {"version": __version__, "api": "v1"}


def test_a_process_that_runs_is_alive(make_service: Callable[..., Service]) -> None:
    service = make_service(redis_url="redis://127.0.0.1:1/0")
    assert service.http.get("/health/live").json() == {"status": "ok", "checks": {}}


def test_a_process_is_ready_when_redis_and_blobs_are(service: Service) -> None:
    response = service.http.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "checks": {"redis": "ok", "blobs": "ok"}})


def test_a_process_without_redis_is_not_ready(make_service: Callable[..., Service]) -> None:
    service = make_service(redis_url="redis://:secret@127.0.0.1:1/0")
    response = service.http.get("/health/ready")
    assert response.status_code == 503
    health = response.json()
    assert (health["status"], health["checks"]["blobs"]) == ("unavailable", "ok")
    assert "ok" not in health["checks"]["redis"]
    assert "127.0.0.1" not in response.text


def test_a_process_without_blobs_is_not_ready(make_service: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")
    service = make_service(blob_url=(tmp_path / "occupied").as_uri())
    response = service.http.get("/health/ready")
    assert response.status_code == 503
    assert (response.json()["checks"]["redis"], response.json()["checks"]["blobs"][:6]) == ("ok", "failed")


def test_metrics_count_jobs_doorbells_requests_and_lost_leases(service: Service) -> None:
    dataset_id = service.upload()["id"]
    service.select(dataset_id)
    StandIn(service.store, service.select(dataset_id)["id"]).prepare()
    service.store.counters.add({(LEASES_EXPIRED,): 3, (UNITS, "score", "committed"): 2, (UNIT_SECONDS, "score"): 0.5})
    service.store.redis.lpush("gpu", "a message")
    found = metrics(service)
    assert found["minirec_store_up",] == 1
    assert (found["minirec_jobs", "selection", "queued"], found["minirec_jobs", "selection", "running"]) == (1, 1)
    assert found["minirec_jobs", "evaluation", "queued"] == 0
    assert found["minirec_leases_expired_total",] == 3
    assert found["minirec_units_total", "score", "committed"] == 2
    assert found["minirec_unit_seconds_total", "score"] == 0.5
    assert (found["minirec_queue_shards", "gpu"], found["minirec_queue_shards", "cpu"]) == (1, 0)
    assert found["minirec_http_request_seconds_count", "POST", "/v1/selections", "202"] == 2


def test_workers_are_listed_until_they_are_silent(service: Service) -> None:
    for name in ("a/1", "b/2"):
        service.store.workers.report(Worker(name=name, queues=["cpu"], version="1", started_at=5, doing="select"))
    listed = service.http.get("/v1/workers").json()["data"]
    assert [(worker["name"], worker["doing"]) for worker in listed] == [("a/1", "select"), ("b/2", "select")]
    assert abs(listed[0]["seen_at"] - time.time()) < 60
    found = metrics(service)
    assert (found["minirec_workers", "cpu"], found["minirec_workers", "gpu"]) == (2, 0)
    service.store.redis.zincrby(f"{service.store.prefix}workers", -SILENT_SECONDS, "a/1")
    service.store.workers.leave("nobody")
    assert [worker["name"] for worker in service.http.get("/v1/workers").json()["data"]] == ["b/2"]
    assert service.store.redis.hkeys(f"{service.store.prefix}workers:about") == [b"b/2"]


def test_metrics_are_not_labelled_by_what_clients_send(service: Service) -> None:
    for path in ("/v1/datasets/ds_1", "/v1/datasets/ds_2", "/nowhere", "/nobody"):
        service.http.get(path)
    service.http.request("BREW", "/v1/datasets")
    labels = {name for name in metrics(service) if name[0] == "minirec_http_request_seconds_count"}
    assert {name[1:] for name in labels} == {
        ("GET", "/v1/datasets/{dataset_id}", "404"),
        ("GET", "unknown", "404"),
        ("other", "/v1/datasets", "405"),
    }


def test_metrics_survive_without_redis(make_service: Callable[..., Service]) -> None:
    service = make_service(redis_url="redis://127.0.0.1:1/0")
    assert metrics(service)["minirec_store_up",] == 0


def test_the_service_logs_json_lines_with_request_ids_and_no_keys(service: Service, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    with running_service(service.settings, log) as address:
        httpx2.get(f"{address}/v1/datasets", headers={"X-Request-ID": "abc-7", "Authorization": "Bearer wrong-key"})
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    request = next(entry for entry in entries if entry.get("request_id") == "abc-7")
    assert (request["method"], request["path"], request["status"]) == ("GET", "/v1/datasets", 401)
    assert "wrong-key" not in log.read_text()


@pytest.mark.parametrize("module", ["minirec.service.app", "minirec.service.janitor"])
def test_the_service_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'worker'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
