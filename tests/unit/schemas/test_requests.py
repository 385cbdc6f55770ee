"""Requests are strict, and echoes of them are not: an old client survives a newer service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from api_schemas import JOB_KINDS, Selection, SelectionCreate

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


def _integers(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field of a request that may hold an integer, with its path."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _integers(kind, (*before, name))
        if int in kinds and name != "size":  # Compared with the pool at once.
            yield (*before, name), field


@pytest.mark.parametrize("model", [kind.request for kind in JOB_KINDS])
def test_no_integer_of_a_request_is_unbounded(model: type[BaseModel]) -> None:
    """What is computed of them has to be exact in Redis, NumPy and torch; 10**30 updates made a list unreadable."""
    found = dict(_integers(model))
    assert len(found) > 3
    for path, field in found.items():
        for value in (10**30, -(10**30)):
            with pytest.raises(ValidationError):
                TypeAdapter(Annotated[field.annotation, *field.metadata]).validate_python(value)
                pytest.fail(f"{'.'.join(path)} takes {value}")
