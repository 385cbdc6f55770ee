"""What `client.evaluations` asks, and what jobs of all kinds share: deletion, and the way from an id to its kind."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import (
    EVALUATION,
    JOB_KINDS,
    SELECTION,
    AdapterReference,
    JobKind,
    ModelReference,
    RolloutSettings,
)
from minirec.client import ConflictError, NotFoundError
from tests.unit.client.scripted_service import Script, evaluation_json, problem

pytestmark = pytest.mark.usefixtures("both_clients")

RESULT = {"samples": 4, "ranking": {"samples": 4, "hr": {"10": 0.5}, "ndcg": {"10": 0.25}}}

every_kind = pytest.mark.parametrize("kind", JOB_KINDS, ids=[kind.name for kind in JOB_KINDS])


def answer(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def test_create_sends_what_was_given_and_nothing_else() -> None:
    service = Script(answer(evaluation_json(), 202))
    service.client().evaluations.create(dataset="ds_1", model="org/model")
    assert service.requests[0].url.path == "/v1/evaluations"
    assert json.loads(service.requests[0].content) == {
        "dataset_id": "ds_1",
        "model": {"source": "hub", "id": "org/model"},
    }


def test_create_takes_adapters_splits_and_rewards_by_name() -> None:
    service = Script(answer(evaluation_json(), 202))
    adapter = AdapterReference(source="local", id="adapter")
    service.client().evaluations.create(
        dataset="ds_1",
        model=ModelReference(source="local", id="m", adapter=adapter),
        split="all",
        max_samples=5,
        rewards=["exact_answer"],
        rollouts=RolloutSettings(window=9),
        seed=3,
        metadata={"run": "7"},
    )
    assert json.loads(service.requests[0].content) == {
        "dataset_id": "ds_1",
        "model": {"source": "local", "id": "m", "adapter": {"source": "local", "id": "adapter"}},
        "split": "all",
        "max_samples": 5,
        "rewards": [{"name": "exact_answer"}],
        "rollouts": {"window": 9},
        "seed": 3,
        "metadata": {"run": "7"},
    }


def test_a_started_evaluation_is_waited_for_and_shows_its_progress() -> None:
    running = [evaluation_json("running", stage="evaluating", samples_done=n, samples_total=4) for n in (1, 1, 3)]
    service = Script(
        answer(evaluation_json(), 202), *map(answer, [*running, evaluation_json("succeeded", result=RESULT)])
    )
    seen: list[int] = []
    done = (
        service.client()
        .evaluations.create(dataset="ds_1", model="m/m")
        .wait(on_update=lambda job: seen.append(job.samples_done))
    )
    assert done.result is not None
    assert done.result.ranking is not None
    assert (done.result.ranking.ndcg["10"], seen) == (0.25, [1, 3, 0])


@every_kind
def test_a_job_of_every_kind_is_deleted(kind: JobKind[Any, Any]) -> None:
    service = Script(httpx2.Response(204))
    assert service.client().jobs_of(f"{kind.prefix}_1").delete(f"{kind.prefix}_1") is None
    assert (service.requests[0].method, service.requests[0].url.path) == ("DELETE", f"{kind.path}/{kind.prefix}_1")


def test_what_cannot_be_deleted_says_which_job_needs_it() -> None:
    refused = problem(409, "job_in_use", detail="trn_9 has not ended", context={"job_id": "trn_9"})
    with pytest.raises(ConflictError, match="trn_9") as caught:
        Script(refused).client().selections.delete("sel_1")
    assert caught.value.problem.context == {"job_id": "trn_9"}


def test_a_job_that_never_was_is_not_deleted() -> None:
    with pytest.raises(NotFoundError):
        Script(problem(404, "selection_not_found")).client().selections.delete("sel_1")


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    service = Script(httpx2.ReadTimeout("no answer"), problem(404, "selection_not_found"))
    service.client().selections.delete("sel_1")
    assert [request.method for request in service.requests] == ["DELETE", "DELETE"]


def test_jobs_are_found_by_kind_and_by_id() -> None:
    client = Script(answer(evaluation_json("succeeded", result=RESULT))).client()
    assert client.jobs(EVALUATION).retrieve("evl_1").object == "evaluation"
    assert client.jobs_of("evl_1").retrieve("evl_1").id == "evl_1"
    assert client.jobs(SELECTION).retrieve is not None
    with pytest.raises(ValueError, match="ids of jobs begin with"):
        client.jobs_of("ds_1")
