"""Every kind of job has the same routes, and every job an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from minirec.api_schemas import EVALUATION, JOB_KINDS, SELECTION, TRAINING_JOB, Job, JobKind, kind_of
from minirec.client import MiniRec
from minirec.service.job_kinds import KINDS
from minirec.worker.runner import HANDLERS
from tests.api.conftest import Service
from tests.api.stand_in import EvaluationStandIn, StandIn, TrainingStandIn
from tests.api.test_problems import assert_problem

START: dict[str, Callable[[Service, str], dict[str, Any]]] = {
    SELECTION.name: Service.select,
    TRAINING_JOB.name: Service.train,
    EVALUATION.name: Service.evaluate,
}
FINISH: dict[str, Callable[[Service, str], object]] = {
    SELECTION.name: lambda service, job_id: StandIn(service.store, job_id).finish(),
    TRAINING_JOB.name: lambda service, job_id: TrainingStandIn(service.store, job_id).finish(),
    EVALUATION.name: lambda service, job_id: EvaluationStandIn(service.store, job_id).finish(),
}

every_kind = pytest.mark.parametrize("kind", JOB_KINDS, ids=[kind.name for kind in JOB_KINDS])


def test_the_service_offers_every_kind_once() -> None:
    assert [served.kind for served in KINDS] == list(JOB_KINDS)
    assert {len({kind.name for kind in JOB_KINDS}), len({kind.prefix for kind in JOB_KINDS})} == {len(JOB_KINDS)}


def test_workers_and_clients_know_every_kind() -> None:
    for served in KINDS:
        assert HANDLERS[served.prepare.HANDLER][1] is served.prepare
        assert hasattr(MiniRec(base_url="http://service.test"), f"{served.kind.name}s")


@every_kind
def test_the_document_describes_all_routes_of_a_kind(service: Service, kind: JobKind[Any, Any]) -> None:
    document = service.http.get("/openapi.json").json()
    operations = {
        operation["operationId"].split("_v1_")[0]: operation
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if path.startswith(kind.path)
    }
    names = [f"{verb}_{kind.name}" for verb in ("create", "get", "delete", "cancel", "retry")]
    for name in (*names, f"list_{kind.name}s", f"get_{kind.name}_events"):
        assert operations[name]["summary"]
        assert operations[name]["description"]
        assert operations[name]["tags"] == [f"{kind.title}s"]
    body = operations[f"create_{kind.name}"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": f"#/components/schemas/{kind.request.__name__}"}
    for example in body["examples"].values():
        kind.request.model_validate(example["value"])
    answer = operations[f"get_{kind.name}"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": f"#/components/schemas/{kind.resource.__name__}"}
    assert kind.title in [tag["name"].removesuffix("s") for tag in document["tags"]]


@every_kind
def test_a_job_of_every_kind_is_listed_followed_and_retried(service: Service, kind: JobKind[Any, Any]) -> None:
    job_id = START[kind.name](service, service.upload()["id"])["id"]
    assert kind_of(job_id) is kind
    job: Job = kind.resource.model_validate(service.http.get(f"{kind.path}/{job_id}").json())
    assert (job.object, job.status, job.dataset_id[:3]) == (kind.name, "queued", "ds_")
    assert [entry["id"] for entry in service.http.get(kind.path).json()["data"]] == [job_id]
    cancelled = service.http.post(f"{kind.path}/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    retried = service.http.post(f"{kind.path}/{job_id}/retry")
    assert (retried.json()["status"], retried.headers["location"]) == ("queued", f"{kind.path}/{job_id}")
    FINISH[kind.name](service, job_id)
    done = kind.resource.model_validate(service.http.get(f"{kind.path}/{job_id}", params={"wait": 5}).json())
    assert done.status == "succeeded"
    assert done.result is not None
    events = service.http.get(f"{kind.path}/{job_id}/events").json()["data"]
    statuses = [event["data"]["status"] for event in events if event["type"] == "status"]
    assert statuses == ["queued", "cancelled", "queued", "running", "succeeded"]


@every_kind
def test_a_finished_job_is_deleted_with_all_that_shows_it(service: Service, kind: JobKind[Any, Any]) -> None:
    dataset_id = service.upload()["id"]
    kept, job_id = (START[kind.name](service, dataset_id)["id"] for _ in range(2))
    FINISH[kind.name](service, job_id)
    assert service.http.delete(f"{kind.path}/{job_id}").status_code == 204
    assert_problem(service.http.get(f"{kind.path}/{job_id}"), 404, f"{kind.name}_not_found")
    assert_problem(service.http.get(f"{kind.path}/{job_id}/events"), 404, f"{kind.name}_not_found")
    assert_problem(service.http.delete(f"{kind.path}/{job_id}"), 404, f"{kind.name}_not_found")
    assert [entry["id"] for entry in service.http.get(kind.path).json()["data"]] == [kept]
    assert not list(service.store.redis.scan_iter(f"{service.store.prefix}*{job_id}*"))


@every_kind
def test_a_job_that_has_not_ended_is_not_deleted(service: Service, kind: JobKind[Any, Any]) -> None:
    job_id = START[kind.name](service, service.upload()["id"])["id"]
    problem = assert_problem(service.http.delete(f"{kind.path}/{job_id}"), 409, "job_not_finished")
    assert problem.context == {"job_id": job_id}
    service.http.post(f"{kind.path}/{job_id}/cancel")
    assert service.http.delete(f"{kind.path}/{job_id}").status_code == 204


def test_a_selection_that_a_training_job_needs_is_not_deleted(service: Service) -> None:
    selection_id = service.select(service.upload()["id"])["id"]
    StandIn(service.store, selection_id).finish()
    training = service.http.post("/v1/training_jobs", json={"selection_id": selection_id}).json()["id"]
    problem = assert_problem(service.http.delete(f"/v1/selections/{selection_id}"), 409, "job_in_use")
    assert training in problem.detail
    assert problem.context == {"job_id": training}
    service.http.post(f"/v1/training_jobs/{training}/cancel")
    assert service.http.delete(f"/v1/selections/{selection_id}").status_code == 204
    assert_problem(
        service.http.post("/v1/training_jobs", json={"selection_id": selection_id}), 404, "selection_not_found"
    )
    problem = assert_problem(service.http.post(f"/v1/training_jobs/{training}/retry"), 409, "not_retryable")
    assert selection_id in problem.detail, "it was not prepared yet, and would begin with the selection's result"


@every_kind
def test_a_job_outlives_its_dataset_and_can_still_be_deleted(service: Service, kind: JobKind[Any, Any]) -> None:
    dataset_id = service.upload()["id"]
    job_id = START[kind.name](service, dataset_id)["id"]
    FINISH[kind.name](service, job_id)
    assert service.http.delete(f"/v1/datasets/{dataset_id}").status_code == 200
    assert service.http.delete(f"{kind.path}/{job_id}").status_code == 204


def test_an_id_of_no_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'ds_1' is not the id of a job.*sel_.*trn_.*evl_"):
        kind_of("ds_1")


@every_kind
def test_a_request_that_this_release_refuses_hides_no_other_job(service: Service, kind: JobKind[Any, Any]) -> None:
    start = START[kind.name]
    bad, good = (start(service, service.upload()["id"])["id"] for _ in range(2))
    key = f"{service.store.prefix}job:{bad}"
    request = json.loads(service.store.jobs.get(bad).fields["request"])
    service.store.redis.hset(key, "request", json.dumps(request | {"metadata": {"a": 3}}))
    listed = service.http.get(kind.path)
    assert [job["id"] for job in listed.json()["data"]] == [good]
    problem = assert_problem(service.http.get(f"{kind.path}/{bad}"), 410, "job_unreadable")
    assert "metadata" in problem.detail
