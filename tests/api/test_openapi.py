"""The OpenAPI document tells the truth: a fuzzer that reads it finds no answer that it does not announce."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS  # noqa: F401

from api_schemas import Problem
from tests.api.conftest import KEY, Service
from tests.api.stand_in import StandIn


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
