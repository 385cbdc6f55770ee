"""Values as people write them: ids, lists as Python literals, times in any unit, titles in HTML."""

from __future__ import annotations

import ast
import html
import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

_LITERAL_FAULTS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_LATEST = 1e10
"""Seconds since 1970 until the year 2286; a later time is in a smaller unit."""
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?")
_DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d{1,2}\s*")
_TAG = re.compile(r"<[^<>]{1,200}>")
_SPACE = re.compile(r"\s+")


def as_id(value: Any) -> str | None:
    """Return an id as text: 5 and 5.0 are "5". None for what is no id."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    if isinstance(value, int):
        return str(value)
    return None


def as_number(value: Any) -> float | None:
    """Return a finite number, also from text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_rating(value: Any) -> float | None:
    """Return a finite number as `as_number` does, also from "3,5" with a decimal comma; None for anything else."""
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        value = value.replace(",", ".")
    return as_number(value)


def literal(text: str) -> Any:
    """Return what a Python literal means, or None; `ast.literal_eval` runs no code."""
    try:
        return ast.literal_eval(text.strip())
    except _LITERAL_FAULTS:
        return None


def as_list(value: Any) -> list[Any] | None:
    """Return a list as it is, or one from a JSON or Python literal in a text; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = literal(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, list) else None


def as_ids(value: Any) -> list[str] | None:
    """Return a list of ids, from a list, a literal in a text, or ids with spaces between; None for anything else."""
    found = as_list(value)
    if found is None:
        if isinstance(value, int):
            return [str(value)]
        if not isinstance(value, str) or value.lstrip().startswith(("[", "(", "{")):
            return None
        found = value.split()
    ids = [as_id(entry) for entry in found]
    return None if any(entry is None for entry in ids) else [entry for entry in ids if entry is not None]


def as_time(value: Any) -> float | None:
    """Return a time as a number in whatever unit it has, or in seconds since 1970 from a date; None for no time.

    A date without a zone is taken as UTC. 2.10.2015 is the second of October; dates with slashes are no time, because
    3/4/2020 is March in some countries and April in others.
    """
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if (number := as_number(value)) is not None:
        return number
    if isinstance(value, str) and len(value) >= 8:
        text = value.strip()
        try:
            if (found := _DAY_FIRST.fullmatch(text)) is not None:
                day, month, year, hour, minute, second = (int(part or 0) for part in found.groups())
                return as_time(datetime(year, month, day, hour, minute, second))
            return as_time(datetime.fromisoformat(text))
        except ValueError:
            return None
    return None


def unit_of(largest: float) -> tuple[float, str]:
    """Return what to divide times by, and the unit's name, given the largest of them."""
    for divisor, name in ((1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds")):
        if largest / divisor <= _LATEST:
            return divisor, name
    return 1e9, "nanoseconds"


def as_title(value: Any) -> str:
    """Return a title on one line, without HTML; empty where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    text = html.unescape(value) if "&" in value else value
    if "<" in text:
        text = _TAG.sub(" ", text)
    return _SPACE.sub(" ", text).strip()


def joined(values: Iterable[Any]) -> str:
    """Return the parts of a semantic id as one text: `<a_1><b_2>`."""
    return "".join(str(value).strip() for value in values)


def without_empty(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without fields that hold nothing."""
    return {name: value for name, value in row.items() if value not in (None, "", [], {}) and value == value}
