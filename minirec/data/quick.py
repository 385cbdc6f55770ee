"""Usual samples checked and converted column by column, which is much faster than row by row.

`minirec.data.rows` has the checks. What is taken here they take too, with the same values; all else is left to them,
and they also name what is wrong. Tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from minirec.api_schemas.rows import MAX_HISTORY, MAX_ID, Split, not_blank
from minirec.data.columns import COLUMNS, Columns, refilled, to_columns
from minirec.data.rows import Lines
from minirec.data.tables import SAMPLES
from minirec.data.times import Floats, Ints, Times

_SPLITS = {*get_args(Split), None}


class _UnusualError(Exception):
    """Only the check of single rows can judge this batch."""


@dataclass(frozen=True)
class Chunk:
    """Samples without a fault, in the order of the file."""

    numbers: Sequence[int]
    """1-based line of each."""
    table: pa.Table
    """As `SAMPLES`."""


def quick_samples(rows: Lines | Columns, row_of: Mapping[str, int], times: Times) -> Chunk | None:
    """Return the samples of some rows, or None where one is unusual or wrong; `times` then knows nothing of them.

    Args:
        rows: of a file.
        row_of: row of each item in the catalogue.
        times: gets what is to be said of all times together.
    """
    try:
        if isinstance(rows, Columns):
            return Chunk(range(rows.first, rows.first + len(rows)), _samples(rows.batch, row_of, times))
        return Chunk(rows.numbers, _samples(_parsed(rows.texts), row_of, times))
    except _UnusualError:
        return None


def _parsed(lines: Sequence[bytes]) -> pa.RecordBatch:
    """Return lines of JSON as `COLUMNS`."""
    text = b"\n".join(lines)
    how = pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
    kinds = pyarrow.json.ParseOptions(explicit_schema=_schema(lines[0]), unexpected_field_behavior="error")
    try:
        table = pyarrow.json.read_json(pa.BufferReader(text), read_options=how, parse_options=kinds)
        table.validate(full=True)
        batch = table.combine_chunks().to_batches()[0]
    except pa.ArrowException as error:
        raise _UnusualError from error
    # The reader takes objects wherever they begin and end, and would not mind two on one line.
    if len(batch) != len(lines) or not all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        raise _UnusualError
    return to_columns(batch)


def _schema(line: bytes) -> pa.Schema:
    """Return `COLUMNS` with numbers for the ids that are numbers in a line."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _UnusualError from error
    if not isinstance(row, dict):
        raise _UnusualError
    schema = COLUMNS
    for place, name in enumerate(schema.names):
        value = row.get(name)
        if type(value) is int and pa.types.is_string(schema.field(name).type):
            schema = schema.set(place, pa.field(name, pa.int64()))
        elif type(value) is list and value and type(value[0]) is int and name == "history":
            schema = schema.set(place, pa.field(name, pa.list_(pa.int64())))
    return schema


def _samples(batch: pa.RecordBatch, row_of: Mapping[str, int], times: Times) -> pa.Table:
    column = dict(zip(batch.schema.names, batch.columns, strict=True))
    ids, histories, split = column["id"], column["history"], column["split"]
    if ids.null_count or histories.null_count:
        raise _UnusualError
    _check_own(ids)
    _check_own(column["user_id"].drop_null())
    sizes = _sizes(histories)
    if sizes.min() < 1 or sizes.max() > MAX_HISTORY or not {*split.unique().to_pylist()} <= _SPLITS:
        raise _UnusualError
    history, target = _rows_of(histories.flatten(), row_of), _rows_of(column["target"], row_of)
    lists = {name: _aligned(column[name], sizes) for name in ("ratings", "history_timestamps")}
    values = {name: _finite(found.flatten()) for name, found in lists.items()}
    at, then = _finite(column["timestamp"]), values["history_timestamps"]
    if times.per_second != 1:
        at, then = at / times.per_second, then / times.per_second
        values["history_timestamps"] = then
    # Last, because it changes what `times` knows.
    if not times.check_columns(ids, at, then, _sizes(lists["history_timestamps"])):
        raise _UnusualError
    arrays = [
        ids,
        column["user_id"],
        refilled(histories, history),
        target,
        _floats(at),
        *(refilled(found, _floats(values[name])) for name, found in lists.items()),
        split,
    ]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)


def _check_own(texts: pa.Array) -> None:
    """Raise unless all texts are as ids of samples and users must be."""
    if not len(texts):
        return
    lengths = pc.min_max(pc.utf8_length(texts)).as_py()
    if lengths["min"] < 1 or lengths["max"] > MAX_ID:
        raise _UnusualError
    if not all(first.isalnum() for first in pc.utf8_slice_codeunits(texts, 0, 1).unique().to_pylist()):
        try:
            for text in texts.to_pylist():
                not_blank(text)
        except ValueError as error:
            raise _UnusualError from error


def _rows_of(items: pa.Array, row_of: Mapping[str, int]) -> pa.Array:
    """Return the rows of items in the catalogue; each is looked up once, so its size does not count."""
    if items.null_count:
        raise _UnusualError
    coded = items.dictionary_encode()
    try:
        known = np.fromiter(map(row_of.__getitem__, coded.dictionary.to_pylist()), np.int32, len(coded.dictionary))
    except KeyError as error:
        raise _UnusualError from error
    return pa.array(known[coded.indices.to_numpy()])


def _sizes(lists: pa.Array) -> Ints:
    """Return the lengths of lists, 0 for null."""
    found: Ints = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    return found


def _aligned(lists: pa.Array, wanted: Ints) -> pa.Array:
    """Return lists of which each is null or as long as the row's history."""
    if not np.array_equal(_sizes(lists), np.where(lists.is_null().to_numpy(zero_copy_only=False), 0, wanted)):
        raise _UnusualError
    return lists


def _finite(numbers: pa.Array) -> Floats:
    """Return numbers, NaN where one is null."""
    values: Floats = numbers.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    # -0 is 0 where it was written as a whole number, and -0.0 otherwise.
    if np.count_nonzero(~np.isfinite(values)) != numbers.null_count or np.signbit(values[values == 0]).any():
        raise _UnusualError
    return values


def _floats(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)
