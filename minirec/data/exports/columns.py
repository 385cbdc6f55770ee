"""Further fields of prompts as columns for TRL, which hands columns on to its rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from minirec.data.exports.encode import json_text
from minirec.data.exports.rows import Row

RESERVED = frozenset(
    {
        "chat_template_kwargs",
        "completion",
        "completion_ids",
        "completions",
        "environment",
        "environments",
        "image",
        "images",
        "log_extra",
        "log_metric",
        "prompts",
        "tools",
        "trainer_state",
    }
)
"""Columns to which TRL gives a meaning of its own, and arguments that it passes to rewards itself."""
OURS = frozenset({"solution", "ground_truth"})
"""Columns that the export writes itself; those that start with `minirec_` are more."""
PREFIX = "row_"
MAX_COLUMNS = 100
"""A dataset whose rows all have other fields would make a table without end; the row itself is in one column."""


@dataclass(frozen=True)
class Extra:
    """Columns for the fields that rows have beyond those that we know."""

    names: Mapping[str, str]
    """Of a field, the column."""
    types: Mapping[str, pa.DataType]
    """Of a column; a field of mixed or nested values is written as JSON text."""
    left_out: int
    """Fields that became no column."""
    as_json: frozenset[str]
    """Columns of JSON text."""

    @property
    def renamed(self) -> dict[str, str]:
        """The fields whose columns could not have their names."""
        return {name: column for name, column in self.names.items() if name != column}

    @property
    def schema(self) -> list[pa.Field]:
        return [pa.field(column, kind) for column, kind in self.types.items()]

    def values(self, row: Row) -> dict[str, Any]:
        """Return a row's values by column."""
        given = {column: row.extra.get(name) for name, column in self.names.items()}
        return {
            column: json_text(value) if column in self.as_json and value is not None else value
            for column, value in given.items()
        }


def extra_columns(rows: Sequence[Row]) -> Extra:
    """Return the columns that the further fields of these rows need."""
    fields = sorted({name for row in rows for name in row.extra})
    names: dict[str, str] = {}
    types: dict[str, pa.DataType] = {}
    for name in fields[:MAX_COLUMNS]:
        column = name
        while column in RESERVED | OURS or column.startswith("minirec_") or (column != name and column in fields):
            column = PREFIX + column
        names[name] = column
        types[column] = _type([row.extra[name] for row in rows if name in row.extra])
    as_json = frozenset(column for column, kind in types.items() if kind is None)
    types = {column: kind or pa.string() for column, kind in types.items()}
    return Extra(names, types, len(fields) - len(names), as_json)


def _type(values: Sequence[Any]) -> pa.DataType | None:
    """Return the one type that all values have, or None."""
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return pa.int64()
    if kinds in ({float}, {int, float}) and all(abs(value) < 2**53 for value in values if type(value) is int):
        return pa.float64()
    return None
