"""The OpenAPI document tells the truth: a fuzzer that reads it finds no answer that it does not announce."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from minirec.api_schemas import JOB_KINDS, Problem
from minirec.api_schemas.jobs import id_pattern
from minirec.service.app import create_app
from minirec.settings import Settings
from tests.api.conftest import KEY, Service
from tests.api.stand_in import EvaluationStandIn, StandIn, TrainingStandIn

DATASET_ID = id_pattern("ds")
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
]


def test_every_error_is_declared_as_a_problem_document(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status >= "400" and path != "/health/ready":
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)
                    assert list(response["content"]) == ["application/problem+json"]
    assert document["components"]["schemas"]["Problem"]["required"] == Problem.model_json_schema()["required"]


ANNOUNCED = create_app(Settings(redis_url="redis://127.0.0.1:1/0")).openapi()
OPERATIONS = sorted((method.upper(), path) for path, methods in ANNOUNCED["paths"].items() for method in methods)


def is_dataset_id(value: Any) -> bool:
    return isinstance(value, str) and re.search(DATASET_ID, value) is not None


def fuzz(service: Service, method: str, path: str, ids: dict[str, str], **body: Any) -> None:
    """Send what fits the document and what does not, and hold the answers against it; `make contract-test` has more."""
    operation = schemathesis.openapi.from_asgi("/openapi.json", service.app)[path][method]
    fixed = {name: value for name, value in ids.items() if f"{{{name}}}" in path}
    kinds = [operation.as_strategy(mode, path_parameters=fixed) for mode in GenerationMode]

    @given(case=st.one_of(kinds))
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    def answers_are_as_announced(case: schemathesis.Case[Any]) -> None:
        # An id that does not fit the document stays, as the fault for which the request is to be refused.
        if "dataset_id" in ids and isinstance(case.body, dict) and is_dataset_id(case.body.get("dataset_id")):
            case.body["dataset_id"] = ids["dataset_id"]
        if isinstance(wait := case.query.get("wait"), int | float) and wait > 0:
            case.query["wait"] = wait / 1000 if wait <= 60 else wait
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS)

    answers_are_as_announced()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_announced(service: Service, method: str, path: str) -> None:
    fuzz(service, method, path, {})


@pytest.mark.parametrize("state", ["finished", "queued", "cancelled"])
@pytest.mark.parametrize(("method", "path"), [operation for operation in OPERATIONS if "v1" in operation[1]])
def test_answers_about_what_exists_are_as_announced(service: Service, method: str, path: str, state: str) -> None:
    dataset_id = service.upload()["id"]
    ids = {
        "selection_id": service.select(dataset_id)["id"],
        "training_job_id": service.train(dataset_id)["id"],
        "evaluation_id": service.evaluate(dataset_id)["id"],
    }
    assert set(ids) == {f"{kind.name}_id" for kind in JOB_KINDS}
    if state == "finished":
        StandIn(service.store, ids["selection_id"]).finish()
        TrainingStandIn(service.store, ids["training_job_id"]).finish()
        EvaluationStandIn(service.store, ids["evaluation_id"]).finish()
    if state == "cancelled":
        for job_id in ids.values():
            service.store.machine.cancel(job_id)
    fuzz(service, method, path, ids | {"dataset_id": dataset_id})
