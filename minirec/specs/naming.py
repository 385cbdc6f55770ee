"""From a model of settings to a name: equal work has an equal name and is done once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from minirec.api_schemas.common import Operational

LENGTH = 24
"""Hexadecimal digits of a name: 96 bits."""


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return a short name for a set of JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def rows_fingerprint(rows: npt.NDArray[np.integer[Any]]) -> str:
    """Return a short name for row numbers `(n,)` in their order."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()[:LENGTH]


def identity(model: BaseModel, *, defaults: bool = False) -> dict[str, Any]:
    """Return what decides a result, as JSON: all fields but operational ones and those at their default.

    A field that a later release adds thus renames nothing while it is at its default. With `defaults` those fields
    are there, too: for records that people read, and comparisons within one release.
    """
    found = {}
    for name, field in type(model).model_fields.items():
        if any(isinstance(mark, Operational) for mark in field.metadata):
            continue
        value = getattr(model, name)
        if defaults or not _is_default(value, field):
            found[name] = _json(value, defaults=defaults)
    return found


def _is_default(value: Any, field: FieldInfo) -> bool:
    if field.is_required():
        return False
    default = field.get_default(call_default_factory=True, validated_data={})
    # Compared as JSON: a nested model may differ from its default in operational fields alone.
    return type(value) is type(default) and bool(_json(value) == _json(default))


def _json(value: Any, *, defaults: bool = False) -> Any:
    if isinstance(value, BaseModel):
        return identity(value, defaults=defaults)
    if isinstance(value, Mapping):
        return {str(key): _json(entry, defaults=defaults) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry, defaults=defaults) for entry in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form that a name could be made of")
