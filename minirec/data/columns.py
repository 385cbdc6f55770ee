"""Rows of a Parquet file as the columns of a sample: what they are brought to, and their way back to JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from minirec.data.tables import SAMPLES

_AS_GIVEN = {"history": pa.list_(pa.string()), "target": pa.string()}
COLUMNS = pa.schema([pa.field(field.name, _AS_GIVEN.get(field.name, field.type)) for field in SAMPLES])
"""As the stored table, with the ids of items, and with nulls anywhere."""

_LINES = 256
"""Rows that are Python's objects at once."""

# json keeps NaN as NaN, so that the row check can refuse it; orjson makes it null, and crashes where memory ends.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True)
class Columns:
    """Some rows of a file."""

    first: int
    """1-based number of the first."""
    batch: pa.RecordBatch
    """As `COLUMNS`; nothing but the types is checked."""

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (1-based number, row as JSON)."""
        for start in range(0, len(self), _LINES):
            # A column that is not in the file is a column of nulls here: the row check reads both alike.
            for number, row in enumerate(self.batch.slice(start, _LINES).to_pylist(), self.first + start):
                yield number, encode(row).encode()


def are_usual(schema: pa.Schema) -> bool:
    """Tell whether a file's columns become `COLUMNS` without a value that changes its meaning: text stays text.

    Numbers where an id belongs are its decimal text, if they are whole.
    """
    known = set(COLUMNS.names)
    return all(field.name in known and _is_usual(field.type, COLUMNS.field(field.name).type) for field in schema)


def to_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of a file with usual columns. Raises pyarrow.ArrowException for values that do not fit."""
    arrays = [
        # Unsafe casts round whole numbers beyond 2^53, as reading them as JSON does.
        batch.column(field.name).cast(field.type, safe=not _is_number(field.type))
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)


def refilled(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Return lists of the same lengths as others, null where they are, with other values: what `flatten` leaves."""
    sizes = pc.list_value_length(lists).fill_null(0).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int32))).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, values, mask=lists.is_null())


def _is_usual(kind: pa.DataType, wanted: pa.DataType) -> bool:
    if types.is_list(wanted):
        return (types.is_list(kind) or types.is_large_list(kind)) and _is_usual(kind.value_type, wanted.value_type)
    if types.is_string(wanted):
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind))
    return bool(types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_float64(kind.value_type if types.is_list(kind) else kind))
