"""Requests are strict, and echoes of them are not: an old client survives a newer service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from minirec.api_schemas import JOB_KINDS, Selection, SelectionCreate

BODY: dict[str, Any] = {"dataset_id": "ds_1", "model": {"source": "local", "id": "m"}, "size": 0.5}


def test_a_request_with_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="rollouts.beams"):
        SelectionCreate.model_validate(BODY | {"rollouts": {"beams": 4}})


def test_an_echo_with_settings_of_a_newer_version_is_read() -> None:
    newer = BODY | {"rollouts": {"group_size": 8, "beams": 4}, "proxy": {"updates": 3, "warm": True}, "colour": "red"}
    record = {"id": "sel_1", "status": "queued", "dataset_id": "ds_1", "request": newer, "created_at": 0}
    request = Selection.model_validate(record).request
    assert request.rollouts.group_size == 8
    assert request.proxy is not None
    assert request.size == 0.5


def test_an_echo_that_is_wrong_is_still_refused() -> None:
    record = {"id": "sel_1", "status": "queued", "dataset_id": "ds_1", "request": {"size": -1}, "created_at": 0}
    with pytest.raises(ValidationError):
        Selection.model_validate(record)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": None}, "model is missing"),
        ({"signals": "uploaded"}, "leave out model"),
        ({"rollouts": {"engine": {"url": "http://e"}, "temperature": 2.5}}, "engine server takes a temperature"),
        ({"rollouts": {"engine": "vllm", "temperature": 2.5}}, "engine vllm takes a temperature"),
        ({"size": 0}, "size"),
        ({"size": 1.0}, "size"),
        ({"baselines": ["random", "random"]}, "twice"),
        ({"model": {"source": "local", "id": "../etc"}}, "model.id"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SelectionCreate.model_validate(BODY | changes)


def _numbers(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every number in a JSON schema, with its path."""
    if isinstance(schema, list):
        for part in schema:
            yield from _numbers(part, path)
    elif isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for name, part in schema.items():
            yield from _numbers(part, (*path, name))


@pytest.mark.parametrize("model", [kind.request for kind in JOB_KINDS])
def test_no_number_of_a_request_is_unbounded(model: type[BaseModel]) -> None:
    """What is computed of them has to be exact in Redis, NumPy and torch; 10**30 epochs made a list unreadable."""
    found = list(_numbers(model.model_json_schema()))
    assert len(found) > 8
    for path, schema in found:
        if "size" in path and schema["type"] == "integer":
            continue  # Compared with the pool at once.
        assert {"minimum", "exclusiveMinimum"} & set(schema), path
        assert {"maximum", "exclusiveMaximum"} & set(schema), path
