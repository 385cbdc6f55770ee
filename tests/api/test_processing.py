"""Large uploads: handed over to a worker, which checks them while the service answers others."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest

from minirec.data.content import check_files
from minirec.service import datasets
from minirec.service.deliveries import _body
from minirec.service.processing import KIND
from minirec.store.blobs import BlobStore
from minirec.store.garbage import collect_garbage
from minirec.store.orphans import find_orphans
from minirec.store.retention import expire_jobs
from minirec.worker.runner import Runner
from minirec.worker.work import Work
from tests.api.conftest import KEY, Service
from tests.api.test_keys import bearer, make

PROMPTS = b'{"id": "p", "prompt": "What is 1 + 1?", "answer": "2"}\n'


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "AT_ONCE_BYTES", 0)


def send(service: Service, *, samples: bytes | None = None, **options: Any) -> Any:
    """Upload the small dataset, or others of its samples."""
    first, items = (path.read_bytes() for path in service.files)
    files = {"samples": ("samples.jsonl", samples or first), "items": ("items.jsonl", items)}
    return service.http.post("/v1/datasets", files=files, **options)


def work(service: Service) -> list[str]:
    """Do what was rung for, as a worker of the cpu queue does."""
    runner = Runner(service.store, service.settings, multiprocessing.get_context("fork").Event())
    bells, service.doorbells[:] = service.doorbells[:], []
    assert {bell.queue for bell in bells} <= {"cpu"}
    return [runner.run(bell) for bell in bells]


def get(service: Service, dataset_id: str, **params: Any) -> dict[str, Any]:
    return dict(service.http.get(f"/v1/datasets/{dataset_id}", params=params).json())


def kept_files(service: Service) -> set[str]:
    """The first folder of every blob that is left once nobody's are deleted."""
    collect_garbage(service.store)
    return {name.partition("/")[0] for name in service.store.blobs.all_names()}


def test_a_large_upload_is_answered_at_once_and_becomes_the_same_dataset(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = send(service, data={"name": "films"})
    assert answer.status_code == 202, answer.text
    dataset = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{dataset['id']}"
    size = sum(path.stat().st_size for path in service.files)
    assert dataset["status"] == "processing"
    assert dataset["progress"] == {"bytes_done": 0, "bytes_total": size, "waiting": True}
    assert (dataset["content_hash"], dataset["n_samples"]) == ("", 0)
    assert service.http.get("/v1/datasets").json()["data"] == [get(service, dataset["id"])] == [dataset]

    body = {"dataset_id": dataset["id"], "model": {"source": "local", "id": "tiny"}, "size": 6}
    refused = service.http.post("/v1/selections", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_not_ready")
    for path in ("rows", "signals"):
        assert service.http.get(f"/v1/datasets/{dataset['id']}/{path}").status_code == 409

    assert work(service) == ["committed"]
    ready = get(service, dataset["id"])
    monkeypatch.setattr(datasets, "AT_ONCE_BYTES", 1 << 30)
    at_once = send(service, data={"name": "films"}).json()
    assert (ready.pop("same_as", None), at_once.pop("same_as")) == (None, dataset["id"])
    assert ready | {"id": "", "created_at": 0} == at_once | {"id": "", "created_at": 0}
    assert [each["id"] for each in service.http.get("/v1/datasets").json()["data"]] == [at_once["id"], dataset["id"]]
    assert service.http.post("/v1/selections", json=body).status_code == 202
    assert kept_files(service) == {"datasets"}, "what was sent is not kept"


def test_prompts_too(service: Service) -> None:
    dataset = service.http.post("/v1/datasets", files={"prompts": ("p.jsonl", PROMPTS)}).json()
    assert (dataset["status"], dataset["kind"]) == ("processing", "prompts")
    assert work(service) == ["committed"]
    assert get(service, dataset["id"])["n_samples"] == 1
    assert len(service.http.get(f"/v1/datasets/{dataset['id']}/rows").json()["data"]) == 1


def test_faults_are_named_as_in_a_small_upload(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = service.files[0].read_bytes().replace(b'"target"', b'"goal"', 1) + b"[]\n"
    dataset_id = send(service, samples=faulty).json()["id"]
    assert work(service) == ["failed"]
    dataset = get(service, dataset_id)
    monkeypatch.setattr(datasets, "AT_ONCE_BYTES", 1 << 30)
    at_once = send(service, samples=faulty)
    assert at_once.status_code == 422
    failure = dataset["failure"]
    assert dataset["status"] == "failed"
    there = [{name: value for name, value in fault.items() if value is not None} for fault in failure["errors"]]
    assert there == at_once.json()["errors"]
    assert (failure["code"], failure["message"]) == ("invalid_dataset", at_once.json()["detail"])
    assert failure["total_errors"] == len(failure["errors"])
    assert not failure["retryable"]
    retried = service.http.post(f"/v1/datasets/{dataset_id}/retry")
    assert (retried.status_code, retried.json()["code"]) == (409, "not_retryable")
    page = service.http.get(f"/datasets/{dataset_id}", headers={"Accept": "text/html"})
    assert failure["errors"][0]["msg"].split(";")[0] in page.text
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    assert service.http.get(f"/v1/datasets/{dataset_id}").status_code == 404
    assert kept_files(service) <= {"checks"}


def test_cancelled_retried_and_deleted(service: Service) -> None:
    dataset_id = send(service).json()["id"]
    assert service.http.post(f"/v1/datasets/{dataset_id}/cancel").json()["status"] == "cancelled"
    assert service.http.post(f"/v1/datasets/{dataset_id}/cancel").json()["status"] == "cancelled"
    assert work(service) == ["skipped"]
    assert get(service, dataset_id)["status"] == "cancelled"
    assert service.http.post(f"/v1/datasets/{dataset_id}/retry").json()["status"] == "processing"
    assert service.http.post(f"/v1/datasets/{dataset_id}/retry").status_code == 409
    assert work(service) == ["committed"]
    assert get(service, dataset_id)["status"] == "ready"
    for verb in ("cancel", "retry"):
        assert service.http.post(f"/v1/datasets/{dataset_id}/{verb}").status_code == 409
        assert service.http.post(f"/v1/datasets/ds_none/{verb}").status_code == 404
    waiting = send(service).json()["id"]
    assert service.http.delete(f"/v1/datasets/{waiting}").status_code == 200
    assert service.http.delete(f"/v1/datasets/{waiting}").status_code == 404
    assert work(service) == ["skipped"]
    assert kept_files(service) == {"datasets"}


def test_what_is_deleted_while_a_worker_checks_it_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = send(service).json()["id"]
    check = check_files

    def checked_while_it_goes(*args: Any, **options: Any) -> Any:
        found = check(*args, **options)
        service.store.datasets.delete_unready(dataset_id)
        return found

    monkeypatch.setattr("minirec.worker.ingest.check_files", checked_while_it_goes)
    assert work(service) == ["abandoned"]
    assert get(service, dataset_id)["code"] == "dataset_not_found"
    assert service.store.machine.cancel(f"ing_{dataset_id[3:]}") == "ok"
    service.store.machine.delete(f"ing_{dataset_id[3:]}")
    assert kept_files(service) == set()


def test_a_worker_that_died_behind_its_work_costs_nothing(service: Service) -> None:
    dataset_id = send(service).json()["id"]
    bell = service.doorbells[0]
    claim = service.store.machine.claim(bell.group, bell.unit, worker="lost", lease=30)
    assert claim is not None
    runner = Runner(service.store, service.settings, multiprocessing.get_context("fork").Event())
    del service.doorbells[:]
    assert service.store.machine.release(claim)
    assert work(service) == ["committed"]
    first = get(service, dataset_id)
    service.store.redis.hset("minirec:group:ingest:x", mapping={"state": "open"})
    assert runner.run(bell) == "skipped"
    assert get(service, dataset_id) == first


def test_storage_that_fails_is_none_of_the_files_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_id = send(service).json()["id"]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "put_file", full)
        assert work(service) == ["failed"]
    assert get(service, dataset_id)["status"] == "processing"
    service.store.redis.delete(f"minirec:group:ingest:{dataset_id}:later")
    service.store.machine.sweep(max_setbacks=3, ring_after={"cpu": 0.0})
    assert "committed" in work(service)
    assert get(service, dataset_id)["status"] == "ready"


def test_progress_is_in_bytes_and_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_id = send(service).json()["id"]
    seen: list[int] = []
    monkeypatch.setattr("minirec.worker.ingest.REPORT_SECONDS", 0)
    real = Work.progress

    def noted(self: Any, done: int, *, cached: int = 0) -> None:
        seen.append(done)
        real(self, done, cached=cached)

    monkeypatch.setattr(Work, "progress", noted)
    thread = threading.Timer(0.3, work, [service])
    thread.start()
    changed = get(service, dataset_id, wait=20)
    thread.join()
    assert changed["status"] == "ready" or not changed["progress"]["waiting"]
    assert seen == sorted(seen)
    assert seen[-1] == sum(path.stat().st_size for path in service.files)


def test_another_tenant_sees_nothing_of_it(service: Service) -> None:
    one, two = (bearer(make(service, tenant=tenant, scope="admin")["key"]) for tenant in ("one", "two"))
    dataset_id = send(service, headers=one).json()["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/rows")):
        assert service.http.request(method, f"/v1/datasets/{dataset_id}{path}", headers=two).status_code == 404
    assert service.http.get("/v1/datasets", headers=two).json()["data"] == []
    assert work(service) == ["committed"]
    ready = service.http.get(f"/v1/datasets/{dataset_id}", headers=one).json()
    own = send(service, headers={"Authorization": f"Bearer {KEY}"}).json()["id"]
    assert work(service) == ["committed"]
    assert get(service, own)["content_hash"] != ready["content_hash"] != "", "whose rows are equal is not told"
    assert service.http.get(f"/v1/datasets/{dataset_id}", headers=two).status_code == 404


def test_the_same_request_again_makes_no_second_dataset(service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = send(service, headers=headers), send(service, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert len(service.http.get("/v1/datasets").json()["data"]) == 1


def test_files_that_expired_with_their_job_are_asked_for_again(service: Service) -> None:
    dataset_id = send(service, samples=b"[]\n[]\n").json()["id"]
    assert work(service) == ["failed"]
    expire_jobs(service.store, days=-1)
    assert get(service, dataset_id)["failure"]["code"] == "upload_lost"
    assert service.http.post(f"/v1/datasets/{dataset_id}/retry").status_code == 409
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200


def test_files_that_wait_are_no_orphans(service: Service) -> None:
    send(service)
    assert find_orphans(service.store, fresh_seconds=0).blobs == {}


def test_a_webhook_hears_of_the_dataset(service: Service) -> None:
    assert service.http.post("/v1/webhooks", json={"url": "https://example.com/x"}).status_code == 201
    dataset_id = send(service).json()["id"]
    assert work(service) == ["committed"]
    service.store.webhooks.spread()
    message = service.store.webhooks.due(5)[0]
    body = _body(message, KIND, dataset_id)
    assert b'"type":"dataset.succeeded"' in body
    assert f'"id":"{dataset_id}"'.encode() in body


def test_the_page_shows_it_and_offers_only_what_is_ready(service: Service) -> None:
    dataset_id = send(service, data={"name": "in the making"}).json()["id"]
    html = {"Accept": "text/html"}
    assert "wait for a worker" in service.http.get(f"/datasets/{dataset_id}", headers=html).text
    assert "being checked" in service.http.get("/datasets", headers=html).text
    assert "in the making" not in service.http.get("/new", headers=html).text
    for path in ("/", "/workers"):
        assert service.http.get(path, headers=html).status_code == 200
    assert work(service) == ["committed"]
    assert "in the making" in service.http.get("/new", headers=html).text
    assert "Rows 1 to" in service.http.get(f"/datasets/{dataset_id}", headers=html).text
