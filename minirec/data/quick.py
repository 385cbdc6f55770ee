"""Chunks of usual samples, checked and converted column by column, which is faster than row by row.

`minirec.data.rows` has the checks. What is taken here they take too, with the same values; every other chunk is left
to them, and they also name what is wrong in it. Tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from minirec.api_schemas.rows import MAX_HISTORY, MAX_ID, SampleRow, Split, not_blank
from minirec.data.rows import Lines
from minirec.data.tables import SAMPLES
from minirec.data.times import Floats, Ints, Times

_FIELDS = tuple(SampleRow.model_fields)
_SPLITS = {*get_args(Split), None}

Column = Sequence[Any]


class _UnusualError(Exception):
    """Only the check of single rows can judge this chunk."""


@dataclass(frozen=True)
class Chunk:
    """Samples without a fault, in the order of the file."""

    numbers: Sequence[int]
    """1-based line of each."""
    canonical: bytes
    """Their canonical form, which the content's hash is made of."""
    table: pa.Table
    """As `SAMPLES`."""


def quick_samples(lines: Lines, row_of: Mapping[str, int], times: Times) -> Chunk | None:
    """Return the lines' samples, or None where one of them is unusual or wrong; `times` then knows nothing of them.

    Args:
        lines: of JSON.
        row_of: row of each item in the catalogue.
        times: gets what is to be said of all times together.
    """
    try:
        return _samples(lines, row_of, times)
    except (_UnusualError, orjson.JSONDecodeError):
        return None


def _samples(lines: Lines, row_of: Mapping[str, int], times: Times) -> Chunk:
    column = _columns(lines.texts)
    ids = _ids(column["id"], own=True)
    users = _optional(column["user_id"], lambda given: _ids(given, own=True))
    sizes = _sizes(column["history"], {list})
    if sizes.min() < 1 or sizes.max() > MAX_HISTORY:
        raise _UnusualError
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    flat = list(chain.from_iterable(column["history"]))
    items = _ids(flat)
    histories = column["history"] if items is flat else _split(items, offsets)
    targets = _ids(column["target"])
    rows, target_rows = _rows_of(items, row_of), _rows_of(targets, row_of)
    if not {*map(type, column["split"])} <= {str, NoneType} or not {*column["split"]} <= _SPLITS:
        raise _UnusualError
    at = _Numbers(column["timestamp"])
    ratings, then = (_NumberLists(column[name], sizes) for name in ("ratings", "history_timestamps"))
    # Last, because it changes what `times` knows.
    if not times.check_columns(ids, at.scaled(times.per_second), then.scaled(times.per_second), then.sizes):
        raise _UnusualError
    columns = (ids, users, histories, targets, at.plain(), ratings.plain(), then.plain(), column["split"])
    canonical = b"\n".join(map(orjson.dumps, zip(*columns, strict=True))) + b"\n"
    arrays = [
        pa.array(ids, pa.string()),
        pa.array(users, pa.string()),
        pa.ListArray.from_arrays(offsets, rows),
        target_rows,
        at.array(),
        ratings.array(),
        then.array(),
        pa.array(column["split"], pa.string()),
    ]
    return Chunk(lines.numbers, canonical, pa.Table.from_arrays(arrays, schema=SAMPLES))


def _columns(texts: Sequence[bytes]) -> dict[str, Column]:
    """Return the values of each field, None where a row has none."""
    rows = list(map(orjson.loads, texts))
    if {*map(type, rows)} != {dict}:
        raise _UnusualError
    names = set(chain.from_iterable(rows))
    if not names <= {*_FIELDS}:
        raise _UnusualError
    return {name: [row.get(name) for row in rows] if name in names else [None] * len(rows) for name in _FIELDS}


def _ids(given: Column, *, own: bool = False) -> Column:
    """Return ids as text; the row's own must show something, others are looked up in the catalogue."""
    kinds = {*map(type, given)}
    if not kinds <= {str, int}:
        raise _UnusualError
    texts = given if kinds == {str} else [value if type(value) is str else str(value) for value in given]
    if own:
        lengths = [*map(len, texts)]
        if min(lengths) < 1 or max(lengths) > MAX_ID:
            raise _UnusualError
        if not all(first.isalnum() for first in {text[0] for text in texts}):
            _check_seen(texts)
    return texts


def _check_seen(texts: Column) -> None:
    try:
        for text in texts:
            not_blank(text)
    except ValueError as error:
        raise _UnusualError from error


def _optional(given: Column, check: Callable[[Column], Column]) -> Column:
    """Return a column whose values, where they are there, passed a check."""
    if None not in given:
        return check(given)
    checked = iter(check(there) if (there := [value for value in given if value is not None]) else ())
    return [None if value is None else next(checked) for value in given]


def _sizes(given: Column, kinds: set[type]) -> Ints:
    """Return the lengths of lists, 0 for None."""
    found = {*map(type, given)}
    if not found <= kinds:
        raise _UnusualError
    lengths = map(len, given) if found == {list} else (0 if value is None else len(value) for value in given)
    return np.fromiter(lengths, np.int64, len(given))


def _split(flat: Column, offsets: npt.NDArray[Any]) -> list[Column]:
    bounds = offsets.tolist()
    return [flat[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


def _rows_of(items: Column, row_of: Mapping[str, int]) -> pa.Array:
    try:
        return pa.array(np.fromiter(map(row_of.__getitem__, items), np.int32, len(items)))
    except KeyError as error:
        raise _UnusualError from error


class _Numbers:
    """A column of numbers, NaN where there is none."""

    def __init__(self, given: Column) -> None:
        kinds = {*map(type, given)}
        if not kinds <= {int, float, NoneType}:
            raise _UnusualError
        # orjson refuses NaN and numbers beyond float64: what is NaN here was null.
        self.values: Floats = np.array(given, dtype=np.float64)
        self.missing = np.isnan(self.values)
        self._given: Column | None = given if kinds <= {float, NoneType} else None

    @property
    def as_given(self) -> bool:
        """Tell that the column's own values are floats and None, not to be converted."""
        return self._given is not None

    def scaled(self, per_second: int) -> Floats:
        """Divide, here and in what follows; return the values."""
        if per_second != 1:
            self.values = self.values / per_second
            self._given = None
        return self.values

    def plain(self) -> Column:
        """Return floats and None."""
        if self._given is not None:
            return self._given
        values: list[Any] = self.values.tolist()
        for place in np.flatnonzero(self.missing).tolist():
            values[place] = None
        return values

    def array(self) -> pa.Array:
        return pa.array(self.values, pa.float64(), mask=self.missing if self.missing.any() else None)


class _NumberLists:
    """A column of lists of numbers, each as long as the row's history, or None."""

    def __init__(self, given: Column, wanted: Ints) -> None:
        self._given = given
        self.sizes = _sizes(given, {list, NoneType})
        # A list that is there is as long as a history, which has an item at least.
        self._missing = self.sizes == 0
        if [] in given or not np.array_equal(self.sizes, np.where(self._missing, 0, wanted)):
            raise _UnusualError
        flat = list(chain.from_iterable(filter(None, given)))
        self._flat = _Numbers(flat)
        self._offsets = np.concatenate(([0], np.cumsum(self.sizes))).astype(np.int32)

    def scaled(self, per_second: int) -> Floats:
        return self._flat.scaled(per_second)

    def plain(self) -> Column:
        if self._flat.as_given:
            return self._given
        lists = _split(self._flat.plain(), self._offsets)
        return [None if missing else values for missing, values in zip(self._missing.tolist(), lists, strict=True)]

    def array(self) -> pa.Array:
        mask = pa.array(self._missing) if self._missing.any() else None
        return pa.ListArray.from_arrays(self._offsets, self._flat.array(), mask=mask)
