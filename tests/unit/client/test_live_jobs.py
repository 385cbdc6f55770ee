"""Jobs that the client hands out can be waited for and acted on, wherever they came from, and stay current."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import JOB_KINDS, Dataset, JobKind, SampleScore
from minirec.client import JobFailedError
from tests.unit.client.scripted_service import (
    Script,
    evaluation_json,
    event_json,
    selection_json,
    sse,
    training_job_json,
)

pytestmark = pytest.mark.usefixtures("both_clients")

BODIES = {"selection": selection_json, "training_job": training_job_json, "evaluation": evaluation_json}
CREATE: dict[str, dict[str, Any]] = {
    "selection": {"dataset": "ds_1", "model": "org/model", "size": 8},
    "training_job": {"selection": "sel_1"},
    "evaluation": {"dataset": "ds_1", "model": "org/model"},
}
DATASET = {
    "id": "ds_1",
    "created_at": 1.0,
    "n_samples": 2,
    "n_items": 3,
    "n_users": 1,
    "splits": {"train": 2},
    "content_hash": "0",
}
SCORE = {
    "id": "u7-3",
    "reward_mean": 0.5,
    "reward_std": 0.1,
    "rewards": [0.4, 0.6],
    "hit": [True, True],
    "pass_rate": 1.0,
    "learnability": 1.0,
    "learnability_raw": 1.0,
    "representativeness": 0.2,
    "score": 1.2,
    "gate": "open",
    "signal": "policy",
}

every_kind = pytest.mark.parametrize("kind", JOB_KINDS, ids=[kind.name for kind in JOB_KINDS])


def answer(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def got(kind: JobKind[Any, Any], client: Any, way: str) -> Any:
    """A job as a way of getting one returns it."""
    jobs = client.jobs(kind)
    if way == "create":
        return jobs.create(**CREATE[kind.name])
    if way == "list":
        return next(iter(jobs.list(limit=1)))
    return getattr(jobs, way)(f"{kind.prefix}_1")


@every_kind
@pytest.mark.parametrize("way", ["create", "retrieve", "list", "cancel", "retry"])
def test_every_job_is_current_after_waiting(kind: JobKind[Any, Any], way: str) -> None:
    body = BODIES[kind.name]
    first = {"data": [body()], "has_more": True, "next_after": "x"} if way == "list" else body()
    later = [body("running", stage="scoring"), body("succeeded", finished_at=9.0, new_field="kept")]
    service = Script(answer(first), *map(answer, later))
    job = got(kind, service.client(), way)
    assert job.status == "queued"
    done = job.wait()
    assert (job.status, job.finished_at, job.new_field) == ("succeeded", 9.0, "kept")
    assert done.id == job.id
    assert service.requests[-1].url.path == f"{kind.path}/{kind.prefix}_1"


@every_kind
def test_a_job_is_refreshed_cancelled_retried_and_deleted(kind: JobKind[Any, Any]) -> None:
    body = BODIES[kind.name]
    states = [body(), body("running"), body("cancelled"), body("queued")]
    service = Script(*map(answer, states), httpx2.Response(204))
    job = service.client().jobs(kind).retrieve(f"{kind.prefix}_1")
    assert job.refresh().status == job.status == "running"
    assert job.cancel().status == job.status == "cancelled"
    assert job.retry().status == job.status == "queued"
    assert job.delete() is None
    path = f"{kind.path}/{kind.prefix}_1"
    assert [(request.method, request.url.path) for request in service.requests[1:]] == [
        ("GET", path),
        ("POST", f"{path}/cancel"),
        ("POST", f"{path}/retry"),
        ("DELETE", path),
    ]


def test_a_job_that_failed_while_it_was_waited_for_says_so_itself() -> None:
    failed = selection_json("failed", error={"code": "model_not_found", "message": "no such model"})
    job = Script(answer(selection_json()), answer(selection_json("running")), answer(failed)).client()
    selection = job.selections.retrieve("sel_1")
    with pytest.raises(JobFailedError, match="no such model"):
        selection.wait()
    assert selection.status == "failed"
    assert selection.error is not None


def test_jobs_are_copied_and_pickled_without_their_connections() -> None:
    service = Script(answer(selection_json(metadata={"run": "7"})))
    job = service.client().selections.retrieve("sel_1")
    job = getattr(job, "_inner", job)
    assert copy.deepcopy(job)._jobs is job._jobs
    assert pickle.loads(pickle.dumps(job)).model_dump() == job.model_dump()


def test_what_is_seen_on_the_way_stays_as_it_was() -> None:
    service = Script(*(answer(selection_json(status)) for status in ("queued", "queued", "running", "succeeded")))
    seen: list[Any] = []
    service.client().selections.retrieve("sel_1").wait(on_update=seen.append)
    assert [job.status for job in seen] == ["queued", "running", "succeeded"]


def test_a_job_yields_its_events() -> None:
    stream = httpx2.Response(
        200, content=sse(event_json(1, "status", status="succeeded")), headers={"content-type": "text/event-stream"}
    )
    service = Script(answer(selection_json()), stream)
    assert [event.id for event in service.client().selections.retrieve("sel_1").events()] == ["1"]


def test_objects_are_taken_where_ids_are() -> None:
    service = Script(answer(selection_json("succeeded")))
    client = service.client()
    dataset, selection = Dataset(**DATASET), client.selections.retrieve("sel_1")
    client.selections.create(dataset=dataset, model="org/model", size=8)
    assert b'"dataset_id":"ds_1"' in service.requests[-1].content.replace(b": ", b":")
    client.selections.retrieve(selection)
    assert service.requests[-1].url.path == "/v1/selections/sel_1"
    list(client.selections.list(dataset=dataset, after=selection, limit=0))
    service.answers = [answer(training_job_json())]
    client.training_jobs.create(selection=selection)
    assert b'"selection_id":"sel_1"' in service.requests[-1].content.replace(b": ", b":")
    service.answers = [httpx2.Response(404, json={"title": "T", "status": 404, "detail": "none", "code": "none"})]
    with pytest.raises(Exception, match="none"):
        selection.explain(SampleScore(**SCORE))
    assert service.requests[-1].url.path == "/v1/selections/sel_1/scores/u7-3"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client, dataset: client.selections.retrieve(dataset), "a selection or its id .* 'dataset'"),
        (lambda client, dataset: client.training_jobs.cancel(dataset), "a training job or its id .* 'dataset'"),
        (lambda client, dataset: client.selections.create(dataset=7, size=8), "a dataset or its id .* 'int'"),
        (lambda client, dataset: client.datasets.delete(None), "a dataset or its id .* 'NoneType'"),
        (lambda client, dataset: client.selections.explain("sel_1", dataset), "a sample or its id .* 'dataset'"),
    ],
)
def test_an_object_of_another_kind_is_named(call: Callable[[Any, Any], Any], words: str) -> None:
    service = Script(answer(selection_json()))
    with pytest.raises(TypeError, match=words):
        call(service.client(), Dataset(**DATASET))
    assert service.requests == []


def test_a_limit_is_the_most_rows_in_all() -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        size = int(request.url.params["limit"])
        return answer({"data": [DATASET] * size, "has_more": True, "next_after": "c"})

    service = Script(page)
    listed = service.client().datasets.list(limit=250)
    assert len(list(listed)) == 250
    assert [request.url.params["limit"] for request in service.requests] == ["100", "100", "50"]
    assert [len(page.data) for page in listed.pages()] == [100, 100, 50], "it begins again"
    assert list(service.client().datasets.list(limit=0)) == []
    with pytest.raises(ValueError, match="limit=-1"):
        service.client().datasets.list(limit=-1)


def test_ctrl_c_says_that_the_job_goes_on_and_how_to_come_back() -> None:
    if Script.runner is not None:
        pytest.skip("an event loop turns Ctrl-C into a cancellation")

    def interrupted(request: httpx2.Request) -> httpx2.Response:
        raise KeyboardInterrupt

    service = Script(answer(selection_json("running", stage="scoring")), interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        service.client().selections.wait("sel_1")
    assert str(caught.value) == (
        "sel_1 goes on (running: scoring). Come back with client.selections.wait('sel_1', progress=True) or "
        "`minirec status sel_1 --follow`; stop it with client.selections.cancel('sel_1')."
    )
    assert caught.value.__suppress_context__


def test_a_cancelled_wait_carries_the_same_words() -> None:
    if Script.runner is None:
        pytest.skip("nothing is cancelled without an event loop")

    def cancelled(request: httpx2.Request) -> httpx2.Response:
        raise asyncio.CancelledError

    service = Script(answer(selection_json("running")), cancelled)
    with pytest.raises(asyncio.CancelledError) as caught:
        service.client().selections.wait("sel_1")
    assert "sel_1 goes on (running)" in caught.value.__notes__[0]


def test_a_job_that_is_not_a_terminals_is_a_line_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    counts = [{"total": 200, "scored": scored} for scored in (0, 3, 40, 41, 200)]
    states = [selection_json("running", stage="scoring", counts=each) for each in counts]
    service = Script(*map(answer, [*states, selection_json("succeeded", finished_at=84.0)]))
    service.client().selections.wait("sel_1", progress=True)
    shown = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in shown] == [
        f"sel_1 scoring [{'.' * 24}] 0/200",
        f"sel_1 scoring [{'#' * 4}{'.' * 20}] 40/200",
        f"sel_1 scoring [{'#' * 24}] 200/200",
        "sel_1 succeeded after 1:23",
    ]
