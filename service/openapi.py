"""The OpenAPI document: FastAPI's, with problem documents where FastAPI would write its own error shape."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from minirec.api_schemas import ItemRow, PromptRow, RewardRow, SampleRow, SubsetRow
from minirec.service.problems import MEDIA_TYPE

PASSING = {"429", "503", "507"}
"""Statuses of problems that pass by themselves."""
RETRY_AFTER = {
    "description": "Seconds after which the same request may succeed, where that can be told",
    "schema": {"type": "integer", "minimum": 0},
}
READS_FILES = "410"
"""An operation that may find stored files lost reads some, and keeps copies where they are elsewhere: on a disk."""


def operation_id(route: APIRoute) -> str:
    """Return a route's operation id: the name of its function, which generated clients call their methods by."""
    return route.name


def install(app: FastAPI) -> None:
    """Serve the corrected document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            document["components"]["schemas"] |= _rows()
            for method, path, operation in _operations(document):
                if path.startswith("/v1/") and (method != "get" or READS_FILES in operation["responses"]):
                    _may_be_full(operation["responses"])
                for status, response in operation["responses"].items():
                    if status >= "400":
                        _as_problem(response)
                    if status in PASSING and path.startswith("/v1/"):
                        response["headers"] = {"Retry-After": RETRY_AFTER}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _rows() -> dict[str, Any]:
    """Schemas of the rows in uploaded and downloaded files, which no JSON body holds."""
    models = [(model, "serialization") for model in (ItemRow, PromptRow, RewardRow, SampleRow, SubsetRow)]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(schemas["$defs"])


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _may_be_full(responses: dict[str, Any]) -> None:
    """Declare the answer of a service whose Redis or disk is full."""
    responses["507"] = {
        "description": HTTPStatus.INSUFFICIENT_STORAGE.phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _as_problem(response: dict[str, Any]) -> None:
    """Declare a response under the media type that problem documents have."""
    content = response["content"]
    if content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("/Problem"):
        content[MEDIA_TYPE] = content.pop("application/json")
