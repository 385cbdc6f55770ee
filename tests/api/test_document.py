"""The OpenAPI document is one that people can read, and that generators of clients understand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from minirec.api_schemas import EventType, TypedEvent
from minirec.service.app import create_app
from minirec.settings import Settings
from tests.api.conftest import Service
from tests.api.stand_in import EvaluationStandIn, StandIn, TrainingStandIn


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of a service that is not asked for anything else."""
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0")).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def objects(where: str, schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema with properties below a place of the document, with where it is."""
    if isinstance(schema, list):
        for index, one in enumerate(schema):
            yield from objects(f"{where}[{index}]", one)
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield where, schema
        for name, one in schema.items():
            # What a condition says of properties is no description of them.
            if name not in ("examples", "example", "default", "if", "then", "else"):
                yield from objects(f"{where}.{name}", one)


def test_every_property_parameter_schema_and_operation_is_described(document: dict[str, Any]) -> None:
    missing = [name for name, schema in document["components"]["schemas"].items() if not schema.get("description")]
    told = 0
    for where, schema in objects("#", document["components"]["schemas"] | document["paths"]):
        for name, value in schema["properties"].items():
            said = value.get("description", "")
            told += 1
            if len(said) < 5 or said.strip(" .").lower() == name.replace("_", " "):
                missing.append(f"{where} {name}")
    for where, operation in operations(document):
        missing += [f"{where} {given['name']}" for given in operation.get("parameters", ()) if not given["description"]]
        missing += [f"{where} {what}" for what in ("description", "summary", "tags") if not operation.get(what)]
        missing += [f"{where} {status}" for status, said in operation["responses"].items() if not said["description"]]
    assert not missing
    assert told > 300


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    bodies = [
        (where, operation["requestBody"]) for where, operation in operations(document) if "requestBody" in operation
    ]
    assert len(bodies) >= 7
    for where, body in bodies:
        for media_type, content in body["content"].items():
            assert content.get("examples"), (where, media_type)


def test_every_json_body_may_be_unreadable_or_too_large(document: dict[str, Any]) -> None:
    for where, operation in operations(document):
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert {"400", "413"} <= set(operation["responses"]), where


def test_operation_ids_are_short_and_unique(document: dict[str, Any]) -> None:
    ids = Counter(operation["operationId"] for _, operation in operations(document))
    assert [name for name, times in ids.items() if times > 1] == []
    assert [name for name in ids if not name.replace("_", "").isalpha() or len(name) > 32 or "v1" in name] == []
    assert {"list_datasets", "create_selection", "create_training_job", "get_evaluation_events"} <= set(ids)


def test_no_default_is_an_object_of_another_schema(document: dict[str, Any]) -> None:
    """openapi-python-client drops an operation whose body has one."""
    faults = [
        f"{where} {name}"
        for where, schema in objects("#", document["components"]["schemas"])
        for name, value in schema["properties"].items()
        if isinstance(value.get("default"), dict) and ("$ref" in value or "anyOf" in value)
    ]
    assert not faults
    stopping = document["components"]["schemas"]["EarlyStopping"]["properties"]
    assert stopping["patience"]["default"] == 5, "the defaults are in the schema that is referred to"


def test_what_passes_by_itself_says_when_to_come_back(document: dict[str, Any]) -> None:
    for where, operation in operations(document):
        responses = operation["responses"]
        if " /v1/" not in where:
            continue
        assert "503" in responses, where
        if not where.startswith("GET") or "410" in responses:
            assert "507" in responses, where
        if "/keys" not in where and "/workers" not in where:
            assert "429" in responses, where
        for status in {"429", "503", "507"} & set(responses):
            assert "Retry-After" in responses[status]["headers"], (where, status)


def test_events_of_every_type_are_as_the_document_types_them(service: Service, document: dict[str, Any]) -> None:
    page = document["components"]["schemas"]["EventPage"]["properties"]["data"]["items"]
    assert set(page["discriminator"]["mapping"]) == set(get_args(EventType))
    dataset_id = service.upload()["id"]
    ids = [service.select(dataset_id)["id"], service.train(dataset_id)["id"], service.evaluate(dataset_id)["id"]]
    StandIn(service.store, ids[0]).finish()
    TrainingStandIn(service.store, ids[1]).finish()
    EvaluationStandIn(service.store, ids[2]).finish()
    seen = set()
    for job_id, kind in zip(ids, ("selections", "training_jobs", "evaluations"), strict=True):
        events = service.http.get(f"/v1/{kind}/{job_id}/events", params={"limit": 1000}).json()["data"]
        for event in events:
            typed = TypeAdapter(TypedEvent).validate_python(event)
            assert typed.model_dump(exclude_unset=True) == event
            unknown = set(event["data"]) - set(type(typed.data).model_fields)
            assert not unknown, (event["type"], unknown)
            seen.add(event["type"])
    assert {"status", "stage", "progress"} <= seen
