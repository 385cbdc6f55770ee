"""Selections are started, shown as they proceed, listed, cancelled and retried."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from minirec.api_schemas import Dataset, Selection, SelectionCreate, Worker
from minirec.api_schemas.jobs import Waiting
from minirec.settings import Settings
from minirec.specs import PrepareSelection
from minirec.store import connect
from minirec.store.doorbell import CeleryRing, celery_app
from minirec.store.ids import new_id
from minirec.store.machine import Doorbell
from tests.api.conftest import Service, selection_body
from tests.api.stand_in import ITEMS, StandIn, made_up_columns
from tests.api.test_problems import assert_problem, field_errors


@pytest.fixture
def dataset_id(service: Service) -> str:
    return str(service.upload()["id"])


def add_dataset(service: Service, splits: dict[str, int]) -> str:
    """A dataset with these splits, without rows."""
    dataset = Dataset(
        id=new_id("ds"),
        created_at=time.time(),
        n_samples=sum(splits.values()),
        n_items=3,
        n_users=1,
        splits=splits,
        content_hash="abc",
    )
    service.store.datasets.put(dataset)
    return dataset.id


def shown(service: Service, selection_id: str, **params: Any) -> Selection:
    response = service.http.get(f"/v1/selections/{selection_id}", params=params)
    assert response.status_code == 200, response.text
    return Selection.model_validate_json(response.content)


# Starting


def test_a_selection_is_accepted_queued_and_rung(service: Service, dataset_id: str) -> None:
    body = selection_body(dataset_id, metadata={"run": "one"})
    response = service.http.post("/v1/selections", json=body)
    assert response.status_code == 202
    selection = Selection.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/selections/{selection.id}"
    assert (selection.status, selection.stage, selection.dataset_id) == ("queued", None, dataset_id)
    assert selection.request == SelectionCreate.model_validate(body)
    assert selection.metadata == {"run": "one"}
    assert selection.counts.total == 48
    assert service.doorbells == [Doorbell("cpu", f"prepare:{selection.id}", 0)]
    assert service.http.get(response.headers["location"]).json() == response.json()
    claim = StandIn(service.store, selection.id).claim(f"prepare:{selection.id}")
    assert (claim.handler, PrepareSelection.read(claim.spec).job_id) == ("prepare", selection.id)


def test_an_unknown_dataset_is_not_found(service: Service) -> None:
    assert_problem(service.http.post("/v1/selections", json=selection_body("ds_1")), 404, "dataset_not_found")


@pytest.mark.parametrize(
    ("splits", "changes", "size"),
    [
        ({"none": 10}, {}, 10),
        ({"train": 7, "test": 3}, {}, 7),
        ({"train": 7, "none": 3}, {}, 7),
        ({"valid": 7, "none": 3}, {}, 3),
        ({"train": 7, "test": 3}, {"pool": {"split": "test"}}, 3),
        ({"none": 10}, {"pool": {"max_samples": 4}}, 4),
        ({"none": 10}, {"pool": {"max_samples": 40}}, 10),
    ],
)
def test_size_may_reach_the_pool_and_not_exceed_it(
    service: Service, splits: dict[str, int], changes: dict[str, Any], size: int
) -> None:
    dataset_id = add_dataset(service, splits)
    assert service.select(dataset_id, size=size, **changes)["counts"]["total"] == size
    response = service.http.post("/v1/selections", json=selection_body(dataset_id, size=size + 1, **changes))
    problem = assert_problem(response, 422, "size_too_large")
    assert field_errors(problem)[0].loc == ["body", "size"]
    assert f"{size} samples" in problem.detail


def test_an_empty_pool_is_refused(service: Service, dataset_id: str) -> None:
    body = selection_body(dataset_id, pool={"split": "valid"})
    problem = assert_problem(service.http.post("/v1/selections", json=body), 422, "empty_pool")
    assert field_errors(problem)[0].loc == ["body", "pool", "split"]
    assert "without a split: 48" in problem.detail


def test_signals_must_have_been_uploaded(service: Service, dataset_id: str) -> None:
    body = selection_body(dataset_id, signals="uploaded", model=None)
    problem = assert_problem(service.http.post("/v1/selections", json=body), 422, "no_signals")
    assert field_errors(problem)[0].loc == ["body", "signals"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"source": "hub", "id": "evil/model"}},
        {"model": {"source": "hub", "id": "Qwen/Qwen3", "adapter": {"source": "hub", "id": "evil/adapter"}}},
        {"proxy": {"source": "hub", "id": "evil/adapter"}},
        {"model": {"source": "hub", "id": "qwen/Qwen3"}},
    ],
)
def test_hub_ids_that_are_not_allowed_are_refused(
    make_service: Callable[..., Service], changes: dict[str, Any]
) -> None:
    service = make_service(allowed_models="Qwen/*,google/gemma-2-*")
    dataset_id = service.upload()["id"]
    problem = assert_problem(
        service.http.post("/v1/selections", json=selection_body(dataset_id, **changes)), 403, "model_not_allowed"
    )
    assert "Qwen/*, google/gemma-2-*" in problem.detail
    service.select(dataset_id, model={"source": "hub", "id": "google/gemma-2-2b"})
    service.select(dataset_id, model={"source": "local", "id": "evil/model"})


@pytest.mark.parametrize("model_id", ["../secret", "/etc", "a/../b", "a//b", "", "a b", ".hidden"])
def test_model_ids_are_no_paths_out(service: Service, dataset_id: str, model_id: str) -> None:
    body = selection_body(dataset_id, model={"source": "local", "id": model_id})
    assert_problem(service.http.post("/v1/selections", json=body), 422, "invalid_request")


def test_a_dataset_deleted_in_the_meantime_is_noticed(
    service: Service, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = type(service.store.redis).lock

    def deleted_first(*args: Any, **kwargs: Any) -> Any:
        service.store.datasets.delete(dataset_id)
        return lock(*args, **kwargs)

    monkeypatch.setattr(type(service.store.redis), "lock", deleted_first)
    response = service.http.post("/v1/selections", json=selection_body(dataset_id))
    assert_problem(response, 404, "dataset_not_found")
    assert service.doorbells == []


def test_a_broker_that_is_away_delays_the_work_not_the_answer(
    make_service: Callable[..., Service], redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url, broker_url="redis://127.0.0.1:1/0")
    service = make_service(store_ring=CeleryRing(celery_app(settings), time_limit=60))
    selection_id = service.select(service.upload()["id"])["id"]
    rung: list[Doorbell] = []
    janitor = connect(service.settings, ring=rung.extend)
    janitor.machine.sweep(max_setbacks=3, ring_after={"cpu": -1.0})
    assert rung == [Doorbell("cpu", f"prepare:{selection_id}", 0)]


# Proceeding


def test_a_selection_is_shown_stage_by_stage(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    worker = StandIn(service.store, selection_id)

    worker.prepare()
    seen = shown(service, selection_id)
    assert (seen.status, seen.stage) == ("running", "embedding_catalogue")
    assert (seen.counts.total, seen.counts.scored) == (ITEMS, 0)
    assert seen.provenance == {"model": {"id": "tiny", "revision": "abc"}}
    assert seen.started_at is not None

    worker.embed()
    claim = worker.claim(worker.scoring)
    service.store.machine.renew(claim, lease=60, progress=8, cached=8)
    seen = shown(service, selection_id)
    assert (seen.stage, seen.estimated_finish, seen.stage_finish) == ("scoring", None, None)
    assert seen.counts.model_dump() == {"total": 48, "scored": 8, "cached": 8, "failed": 0}

    time.sleep(0.05)
    service.store.machine.renew(claim, lease=60, progress=16)
    seen = shown(service, selection_id)
    assert seen.counts.model_dump() == {"total": 48, "scored": 16, "cached": 8, "failed": 0}
    assert seen.estimated_finish is not None
    assert time.time() < seen.estimated_finish < time.time() + 60
    assert seen.stage_finish == pytest.approx(seen.estimated_finish, abs=1)

    service.store.machine.release(claim)
    worker.score()
    seen = shown(service, selection_id)
    assert (seen.stage, seen.counts.scored, seen.counts.cached) == ("selecting", 48, 8)

    worker.select(made_up_columns(48))
    seen = shown(service, selection_id)
    assert (seen.status, seen.stage, seen.error) == ("succeeded", None, None)
    assert seen.counts.model_dump() == {"total": 48, "scored": 48, "cached": 8, "failed": 0}
    assert seen.result is not None
    assert (seen.result.pool_size, seen.result.selected) == (48, 6)
    assert seen.finished_at is not None
    assert seen.started_at is not None
    assert seen.created_at <= seen.started_at <= seen.finished_at


def test_a_second_selection_shows_shared_scores_as_cached(service: Service, dataset_id: str) -> None:
    first, second = (service.select(dataset_id)["id"] for _ in range(2))
    StandIn(service.store, first).finish()
    worker = StandIn(service.store, second)
    worker.prepare()
    seen = shown(service, second)
    assert (seen.stage, seen.counts.scored, seen.counts.cached) == ("selecting", 48, 48)


def test_a_failed_selection_says_why_and_with_which_samples(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    worker = StandIn(service.store, selection_id)
    worker.prepare()
    worker.embed()
    claim = worker.claim(worker.scoring)
    error = {"code": "worker_lost", "message": "it died", "retryable": True, "sample_ids": ["s001", "s002"]}
    service.store.machine.fail(claim, error, retryable=False, max_attempts=3)
    seen = shown(service, selection_id)
    assert (seen.status, seen.stage, seen.counts.failed) == ("failed", None, 2)
    assert seen.error is not None
    assert seen.error.model_dump(exclude_none=True) == error | {"stage": "scoring"}


def test_an_error_without_samples_is_shown_too(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    claim = StandIn(service.store, selection_id).claim(f"prepare:{selection_id}")
    error = {"code": "model_not_found", "message": "no such model", "retryable": False, "sample_ids": []}
    service.store.machine.fail(claim, error, retryable=False, max_attempts=3)
    seen = shown(service, selection_id)
    assert seen.error is not None
    assert (seen.error.code, seen.error.stage, seen.error.sample_ids) == ("model_not_found", "preparing", [])
    assert not seen.error.retryable


# Waiting


def test_waiting_ends_with_a_change(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    timer = threading.Timer(0.3, StandIn(service.store, selection_id).prepare)
    timer.start()
    started = time.monotonic()
    seen = shown(service, selection_id, wait=30)
    assert (seen.status, seen.stage) == ("running", "embedding_catalogue")
    assert 0.2 < time.monotonic() - started < 5
    timer.join()


def test_waiting_ends_without_a_change(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    started = time.monotonic()
    assert shown(service, selection_id, wait=0.5).status == "queued"
    assert 0.4 < time.monotonic() - started < 5


def test_a_very_short_wait_is_not_a_long_one(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    started = time.monotonic()
    assert shown(service, selection_id, wait=0.0001).status == "queued"
    assert time.monotonic() - started < 5


def test_one_job_says_where_it_stands_in_the_queue(service: Service, dataset_id: str) -> None:
    first, second = (service.select(dataset_id)["id"] for _ in range(2))
    assert shown(service, first).waiting == Waiting(ahead=0, workers=0)
    assert shown(service, second).waiting == Waiting(ahead=1, workers=0)
    service.store.workers.report(Worker(name="host/1", queues=["cpu"], version="0", started_at=1.0))
    assert shown(service, second).waiting == Waiting(ahead=1, workers=1)
    service.http.post(f"/v1/selections/{first}/cancel")
    assert shown(service, second).waiting == Waiting(ahead=0, workers=1)
    assert shown(service, first).waiting is None
    listed = service.http.get("/v1/selections").json()["data"]
    assert [job["waiting"] for job in listed] == [None, None], "a list does not ask for each of them"


def test_jobs_that_need_the_same_scores_share_them(service: Service, dataset_id: str) -> None:
    jobs = [service.select(dataset_id, size=size)["id"] for size in (3, 4)]
    for job in jobs:
        StandIn(service.store, job).prepare()
    claim = service.store.machine.claim_next(service.doorbells[-1], worker="host/1", lease=60)
    assert claim is not None
    seen = [shown(service, job) for job in jobs]
    assert [(job.waiting, job.shared_with) for job in seen] == [(None, [jobs[1]]), (None, [jobs[0]])]
    service.store.machine.release(claim)
    assert all(shown(service, job).worker_seconds >= 0 for job in jobs)


def test_nobody_waits_for_what_is_over(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    service.http.post(f"/v1/selections/{selection_id}/cancel")
    started = time.monotonic()
    assert shown(service, selection_id, wait=30).status == "cancelled"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon"])
def test_waiting_has_limits(service: Service, wait: str) -> None:
    problem = assert_problem(service.http.get(f"/v1/selections/sel_1?wait={wait}"), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["query", "wait"]


# Listing


def test_lists_are_pages_newest_first_and_filtered(service: Service, dataset_id: str) -> None:
    other = service.upload()["id"]
    ids = [service.select(dataset_id)["id"] for _ in range(3)]
    elsewhere = service.select(other)["id"]
    service.http.post(f"/v1/selections/{ids[1]}/cancel")

    def listed(**params: Any) -> list[str]:
        return [row["id"] for row in service.http.get("/v1/selections", params=params).json()["data"]]

    assert listed() == [elsewhere, *reversed(ids)]
    assert listed(dataset_id=other) == [elsewhere]
    assert listed(status="cancelled") == [ids[1]]
    assert listed(status="queued", dataset_id=dataset_id) == [ids[2], ids[0]]
    first = service.http.get("/v1/selections", params={"limit": 3}).json()
    assert (first["has_more"], first["next_after"]) == (True, ids[1])
    assert listed(limit=3, after=ids[1]) == [ids[0]]
    last = service.http.get("/v1/selections", params={"limit": 4}).json()
    assert (last["has_more"], last["next_after"]) == (False, None)


@pytest.mark.parametrize("query", ["after=sel_unknown", "status=over", "dataset_id=x", "limit=1000"])
def test_lists_say_what_is_wrong_with_the_query(service: Service, query: str) -> None:
    response = service.http.get(f"/v1/selections?{query}")
    code = "invalid_cursor" if "unknown" in query else "invalid_request"
    assert field_errors(assert_problem(response, 422, code))[0].loc == ["query", query.partition("=")[0]]


# Cancelling and retrying


def test_a_queued_selection_is_cancelled_at_once(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    for _ in range(2):
        response = service.http.post(f"/v1/selections/{selection_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        assert response.headers["location"] == f"/v1/selections/{selection_id}"


def test_a_running_selection_is_cancelled_when_its_worker_stops(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    claim = StandIn(service.store, selection_id).claim(f"prepare:{selection_id}")
    for _ in range(2):
        assert service.http.post(f"/v1/selections/{selection_id}/cancel").json()["status"] == "cancelling"
    assert service.store.machine.renew(claim, lease=60) == "abandoned"
    service.store.machine.release(claim)
    assert shown(service, selection_id).status == "cancelled"


def test_a_worker_that_finishes_during_the_cancellation_spoils_no_retry(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    worker = StandIn(service.store, selection_id)
    claim = service.store.machine.claim(f"prepare:{selection_id}", 0, worker="w", lease=60)
    assert claim is not None
    service.http.post(f"/v1/selections/{selection_id}/cancel")
    worker.claim = lambda group, unit=0: claim  # type: ignore[method-assign]
    worker.prepare()
    assert shown(service, selection_id).status == "cancelled"
    assert service.http.post(f"/v1/selections/{selection_id}/retry").json()["status"] == "queued"
    worker = StandIn(service.store, selection_id)
    worker.embed()
    assert shown(service, selection_id).stage == "scoring"


def test_what_is_over_is_not_cancelled(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    StandIn(service.store, selection_id).finish()
    assert_problem(service.http.post(f"/v1/selections/{selection_id}/cancel"), 409, "job_finished")


def test_a_retry_goes_on_where_the_selection_stopped(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    worker = StandIn(service.store, selection_id)
    worker.prepare()
    worker.embed()
    worker.store.machine.commit(worker.claim(worker.scoring, 0), progress=24)
    claim = worker.claim(worker.scoring, 1)
    worker.store.machine.fail(claim, {"code": "x", "message": "y"}, retryable=False, max_attempts=3)
    service.doorbells.clear()

    response = service.http.post(f"/v1/selections/{selection_id}/retry")
    assert response.status_code == 202
    selection = Selection.model_validate_json(response.content)
    assert (selection.status, selection.error) == ("queued", None)
    assert (selection.counts.scored, selection.counts.cached) == (24, 24)
    assert service.doorbells == [Doorbell("gpu", worker.scoring, 1)]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_failed_and_cancelled_selections_are_retried(service: Service, dataset_id: str, state: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    worker = StandIn(service.store, selection_id)
    if state == "running":
        worker.prepare()
    if state == "succeeded":
        worker.finish()
    problem = assert_problem(service.http.post(f"/v1/selections/{selection_id}/retry"), 409, "not_retryable")
    assert state in problem.detail


def test_a_selection_without_its_dataset_is_not_retried(service: Service, dataset_id: str) -> None:
    selection_id = service.select(dataset_id)["id"]
    service.http.post(f"/v1/selections/{selection_id}/cancel")
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    assert_problem(service.http.post(f"/v1/selections/{selection_id}/retry"), 404, "dataset_not_found")
    assert shown(service, selection_id).status == "cancelled"


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_unknown_selections_are_not_found(service: Service, verb: str) -> None:
    assert_problem(service.http.post(f"/v1/selections/sel_1/{verb}"), 404, "selection_not_found")


def test_the_request_is_kept_as_it_was_sent(service: Service, dataset_id: str) -> None:
    body = selection_body(dataset_id, size=0.25, rollouts={"group_size": 8}, metadata={"é": "ü 日本"})
    selection_id = service.http.post("/v1/selections", json=body).json()["id"]
    stored = json.loads(service.store.jobs.get(selection_id).fields["request"])
    assert {name: stored[name] for name in ("size", "metadata")} == {"size": 0.25, "metadata": {"é": "ü 日本"}}
    assert stored["rollouts"]["group_size"] == 8
