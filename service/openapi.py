"""The OpenAPI document: FastAPI's, with problem documents where FastAPI would write its own error shape."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api_schemas import ItemRow, PromptRow, RewardRow, SampleRow, SubsetRow
from service.problems import MEDIA_TYPE


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
            for operation in _operations(document):
                for status, response in operation["responses"].items():
                    if status >= "400":
                        _as_problem(response)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _rows() -> dict[str, Any]:
    """Schemas of the rows in uploaded and downloaded files, which no JSON body holds."""
    models = [(model, "serialization") for model in (ItemRow, PromptRow, RewardRow, SampleRow, SubsetRow)]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(schemas["$defs"])


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def _as_problem(response: dict[str, Any]) -> None:
    """Declare a response under the media type that problem documents have."""
    content = response["content"]
    if content["application/json"]["schema"].get("$ref", "").endswith("/Problem"):
        content[MEDIA_TYPE] = content.pop("application/json")
