"""Training jobs are started, shown as they proceed, listed, cancelled and retried; their files are downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from minirec.api_schemas import TrainingJob
from minirec.specs import PrepareTraining
from minirec.store.machine import Doorbell
from tests.api.conftest import Service, training_body
from tests.api.stand_in import StandIn, TrainingStandIn
from tests.api.test_problems import assert_problem, field_errors


@pytest.fixture
def dataset_id(service: Service) -> str:
    return str(service.upload()["id"])


def selection(service: Service, dataset_id: str, **changes: Any) -> str:
    """A finished selection."""
    selection_id = str(service.select(dataset_id, **changes)["id"])
    StandIn(service.store, selection_id).finish()
    return selection_id


def refused(service: Service, body: dict[str, Any], status: int, code: str) -> Any:
    return assert_problem(service.http.post("/v1/training_jobs", json=body), status, code)


def shown(service: Service, job_id: str) -> TrainingJob:
    response = service.http.get(f"/v1/training_jobs/{job_id}")
    assert response.status_code == 200, response.text
    return TrainingJob.model_validate_json(response.content)


# Starting


def test_a_job_on_ids_is_accepted_queued_and_rung(service: Service, dataset_id: str) -> None:
    response = service.http.post("/v1/training_jobs", json=training_body(dataset_id, metadata={"run": "one"}))
    assert response.status_code == 202
    job = TrainingJob.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/training_jobs/{job.id}"
    assert (job.status, job.stage, job.dataset_id, job.metadata) == ("queued", None, dataset_id, {"run": "one"})
    assert job.request.ids == ["s004", "s001", "s009"]
    assert job.request.args.rollouts is not None, "the defaults in force are written out"
    assert service.doorbells == [Doorbell("cpu", f"prepare:{job.id}", 0)]
    claim = TrainingStandIn(service.store, job.id).claim(f"prepare:{job.id}")
    assert (claim.handler, PrepareTraining.read(claim.spec).job_id) == ("prepare_training", job.id)


def test_a_job_on_a_selection_takes_its_model_and_its_rollouts(service: Service, dataset_id: str) -> None:
    chosen = selection(service, dataset_id, rollouts={"group_size": 8, "max_new_tokens": 40})
    response = service.http.post("/v1/training_jobs", json={"selection_id": chosen})
    job = TrainingJob.model_validate_json(response.content)
    assert job.dataset_id == dataset_id
    assert job.request.model is not None
    assert job.request.model.id == "tiny"
    assert job.request.args.rollouts is not None
    assert (job.request.args.rollouts.group_size, job.request.args.rollouts.max_new_tokens) == (8, 40)


def test_an_unfinished_selection_has_nothing_to_train_on(service: Service, dataset_id: str) -> None:
    running = service.select(dataset_id)["id"]
    refused(service, {"selection_id": running}, 409, "not_finished")
    refused(service, {"selection_id": "sel_1"}, 404, "selection_not_found")


def test_a_selection_whose_dataset_is_gone_cannot_be_trained_on(service: Service, dataset_id: str) -> None:
    chosen = selection(service, dataset_id)
    service.http.delete(f"/v1/datasets/{dataset_id}")
    refused(service, {"selection_id": chosen}, 410, "dataset_deleted")


def test_unknown_samples_are_named(service: Service, dataset_id: str) -> None:
    problem = refused(service, training_body(dataset_id, ids=["s001", "x", "s002", "y"]), 422, "unknown_sample")
    assert [error.loc for error in field_errors(problem)] == [["body", "ids", 1], ["body", "ids", 3]]
    assert problem.total_errors == 2
    refused(service, training_body("ds_1"), 404, "dataset_not_found")


ADAPTED = {"source": "local", "id": "tiny", "adapter": {"source": "local", "id": "lora"}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": ADAPTED}, "model_has_adapter"),
        ({"rollouts": {"group_size": 1}}, "group_size_too_small"),
    ],
)
def test_what_a_selection_cannot_give_is_asked_for(
    service: Service, dataset_id: str, changes: dict[str, Any], code: str
) -> None:
    chosen = selection(service, dataset_id, **changes)
    refused(service, {"selection_id": chosen}, 422, code)
    body = {
        "selection_id": chosen,
        "model": {"source": "local", "id": "tiny"},
        "args": {"rollouts": {"group_size": 2}},
    }
    assert service.http.post("/v1/training_jobs", json=body).status_code == 202


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": None},
        {"ids": []},
        {"ids": ["s001", "s001"]},
        {"model": None},
        {"model": ADAPTED},
        {"selection_id": "sel_1"},
        {"args": {"rollouts": {"group_size": 1}}},
        {"args": {"updates": 0}},
        {"trainer": "text_grpo"},
    ],
)
def test_requests_that_contradict_themselves_are_refused(
    service: Service, dataset_id: str, changes: dict[str, Any]
) -> None:
    refused(service, training_body(dataset_id, **changes), 422, "invalid_request")


def test_hub_ids_that_are_not_allowed_are_refused(make_service: Callable[..., Service]) -> None:
    service = make_service(allowed_models=("Qwen/*",))
    body = training_body(service.upload()["id"], model={"source": "hub", "id": "evil/model"})
    refused(service, body, 403, "model_not_allowed")


def test_the_same_key_starts_one_job(service: Service, dataset_id: str) -> None:
    headers = {"Idempotency-Key": "k"}
    answers = [
        service.http.post("/v1/training_jobs", json=training_body(dataset_id), headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(service.http.get("/v1/training_jobs").json()["data"]) == 1


# Following


def test_updates_are_counted_as_they_are_done(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    worker = TrainingStandIn(service.store, job_id)
    assert shown(service, job_id).updates_total is None
    worker.prepare()
    claim = worker.claim(f"train:{job_id}")
    worker.update(claim, 1)
    worker.update(claim, 2)
    job = shown(service, job_id)
    assert (job.status, job.stage, job.updates_done, job.updates_total) == ("running", "training", 2, 3)


def test_a_finished_job_shows_its_result(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    TrainingStandIn(service.store, job_id).finish()
    job = shown(service, job_id)
    assert (job.status, job.stage, job.updates_done, job.updates_total) == ("succeeded", None, 3, 3)
    assert job.result is not None
    assert job.result.best_update == 3
    held = service.http.get(f"/v1/training_jobs/{job_id}", params={"wait": 10})
    assert held.json() == job.model_dump(mode="json"), "nothing to wait for"


def test_events_tell_metrics_and_evaluations(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    TrainingStandIn(service.store, job_id).finish()
    page = service.http.get(f"/v1/training_jobs/{job_id}/events").json()
    kinds = [event["type"] for event in page["data"]]
    assert kinds.count("metrics") == 3
    assert kinds.count("evaluation") == 1
    live = service.http.get(f"/v1/training_jobs/{job_id}/events", headers={"Accept": "text/event-stream"})
    assert "event: metrics" in live.text
    assert_problem(service.http.get("/v1/training_jobs/trn_1/events"), 404, "training_job_not_found")


def test_jobs_are_listed_newest_first_and_apart_from_selections(service: Service, dataset_id: str) -> None:
    jobs = [service.train(dataset_id)["id"] for _ in range(3)]
    selected = service.select(dataset_id)["id"]
    service.http.post(f"/v1/training_jobs/{jobs[0]}/cancel")
    listed = service.http.get("/v1/training_jobs", params={"limit": 2}).json()
    assert [job["id"] for job in listed["data"]] == jobs[:0:-1]
    rest = service.http.get("/v1/training_jobs", params={"after": listed["next_after"]}).json()
    assert [job["id"] for job in rest["data"]] == jobs[:1]
    cancelled = service.http.get("/v1/training_jobs", params={"status": "cancelled", "dataset_id": dataset_id}).json()
    assert [job["id"] for job in cancelled["data"]] == jobs[:1]
    assert [job["id"] for job in service.http.get("/v1/selections").json()["data"]] == [selected]


# Cancelling, retrying


def test_a_cancelled_job_goes_on_with_a_retry(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    assert_problem(service.http.post(f"/v1/training_jobs/{job_id}/retry"), 409, "not_retryable")
    assert service.http.post(f"/v1/training_jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert service.http.post(f"/v1/training_jobs/{job_id}/cancel").status_code == 202, "repeatable"
    again = service.http.post(f"/v1/training_jobs/{job_id}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    TrainingStandIn(service.store, job_id).finish()
    assert_problem(service.http.post(f"/v1/training_jobs/{job_id}/cancel"), 409, "job_finished")


def test_a_dataset_is_kept_while_a_job_trains_on_it(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    problem = assert_problem(service.http.delete(f"/v1/datasets/{dataset_id}"), 409, "dataset_in_use")
    assert job_id in problem.detail


# Files


def test_files_are_listed_and_downloaded_once_they_are_there(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    url = f"/v1/training_jobs/{job_id}/artifacts"
    assert [entry["name"] for entry in service.http.get(url).json()["data"]] == ["train.log"]
    problem = assert_problem(service.http.get(f"{url}/metrics.jsonl"), 404, "artifact_not_found")
    assert "train.log" in problem.detail
    TrainingStandIn(service.store, job_id).finish()
    listed = {entry["name"]: entry["bytes"] for entry in service.http.get(url).json()["data"]}
    assert list(listed) == ["adapter_config.json", "metrics.jsonl", "train.log"]
    for name, size in listed.items():
        response = service.http.get(f"{url}/{name}")
        assert len(response.content) == size
        assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert json.loads(service.http.get(f"{url}/metrics.jsonl").content) == {"update": 1}
    assert_problem(service.http.get(f"{url}/secrets.json"), 422, "invalid_request")
    assert_problem(service.http.get("/v1/training_jobs/trn_1/artifacts"), 404, "training_job_not_found")


def test_the_log_says_what_happened_line_by_line(service: Service, dataset_id: str) -> None:
    job_id = service.train(dataset_id)["id"]
    TrainingStandIn(service.store, job_id).finish()
    lines = service.http.get(f"/v1/training_jobs/{job_id}/artifacts/train.log").text.splitlines()
    words = [line.split("  ", 1)[1] for line in lines]
    assert words[0] == "queued"
    assert words[-1] == "succeeded"
    assert "update 2 (epoch 1): loss 0.5000, reward 0.1000, NDCG@10 0.2000, 90 tokens/s, 2.0 s" in words
    assert "valid after update 3: NDCG@10 0.2500, HR@10 0.5000" in words
