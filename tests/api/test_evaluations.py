"""Evaluations: what is refused at once, and what a client sees of one that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minirec.api_schemas import Evaluation
from tests.api.conftest import Service, evaluation_body
from tests.api.stand_in import EvaluationStandIn
from tests.api.test_problems import assert_problem


def refused(service: Service, status: int, code: str, **changes: Any) -> str:
    dataset_id = changes.pop("dataset_id", None) or service.upload()["id"]
    response = service.http.post("/v1/evaluations", json=evaluation_body(dataset_id, **changes))
    return assert_problem(response, status, code).detail


def evaluation(service: Service, job_id: str) -> Evaluation:
    return Evaluation.model_validate(service.http.get(f"/v1/evaluations/{job_id}").json())


def test_an_evaluation_shows_its_progress_and_its_result(service: Service) -> None:
    job_id = service.evaluate(service.upload()["id"])["id"]
    assert evaluation(service, job_id).samples_total is None
    worker = EvaluationStandIn(service.store, job_id)
    worker.prepare()
    claim = worker.claim(f"evaluate:{job_id}")
    service.store.machine.renew(claim, lease=60, progress=3)
    running = evaluation(service, job_id)
    assert (running.stage, running.samples_done, running.samples_total) == ("evaluating", 3, 8)
    service.store.machine.release(claim)
    assert service.store.machine.claim(f"evaluate:{job_id}", 0, worker="host/2", lease=60) is not None


def test_a_finished_evaluation_has_a_ranking(service: Service) -> None:
    job_id = service.evaluate(service.upload()["id"])["id"]
    EvaluationStandIn(service.store, job_id).finish()
    done = evaluation(service, job_id)
    assert done.result is not None
    assert done.result.ranking is not None
    assert (done.samples_done, done.result.ranking.ndcg, done.result.text) == (8, {"10": 0.25}, None)


def test_a_split_without_samples_is_refused(service: Service) -> None:
    detail = refused(service, 422, "empty_split", split="test")
    assert "no samples in 'test'" in detail
    assert "name another split, or all" in detail
    assert service.evaluate(service.upload()["id"], split="all")["status"] == "queued"


def test_rewards_must_suit_the_dataset(service: Service) -> None:
    refused(service, 422, "rewards_unexpected", rewards=[{"name": "exact_answer"}])
    prompts = service.upload_prompts()["id"]
    refused(service, 422, "rewards_missing", dataset_id=prompts, split="all")
    refused(service, 422, "unknown_reward", dataset_id=prompts, split="all", rewards=[{"name": "nonsense"}])
    assert service.evaluate(prompts, split="all", rewards=[{"name": "exact_answer"}])["status"] == "queued"


def test_what_evaluations_cannot_do_is_refused(service: Service) -> None:
    detail = refused(service, 422, "invalid_request", rollouts={"engine": "vllm", "temperature": 1.0})
    assert "leave out rollouts.engine" in detail
    refused(service, 422, "invalid_request", max_samples=0)
    refused(service, 422, "invalid_request", split="holdout")
    refused(service, 404, "dataset_not_found", dataset_id="ds_1")


@pytest.mark.parametrize(
    "model",
    [
        {"source": "hub", "id": "somebody/else"},
        {"source": "local", "id": "tiny", "adapter": {"source": "hub", "id": "somebody/else"}},
    ],
)
def test_models_and_adapters_that_are_not_allowed_are_refused(
    make_service: Callable[..., Service], model: dict[str, Any]
) -> None:
    service = make_service(allowed_models="Qwen/*")
    assert "somebody/else" in refused(service, 403, "model_not_allowed", model=model)
