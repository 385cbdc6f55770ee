"""The Parquet tables of a stored dataset: their schemas, and a writer that holds one row group at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

GROUP_ROWS = 16_384
"""Small enough that one sample is read without unpacking much, big enough to compress well."""

SAMPLES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("history", pa.list_(pa.int32()), nullable=False),
        pa.field("target", pa.int32(), nullable=False),
        pa.field("timestamp", pa.float64()),
        pa.field("ratings", pa.list_(pa.float64())),
        pa.field("history_timestamps", pa.list_(pa.float64())),
        pa.field("split", pa.string()),
    ]
)
"""`history` (most recent last) and `target` are row numbers of the items."""

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("extra", pa.string(), nullable=False),
    ]
)
"""`extra` is a JSON object with every other field, keys sorted."""

PROMPTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("source", pa.string()),
        pa.field("split", pa.string()),
        pa.field("extra", pa.string(), nullable=False),
    ]
)
"""`prompt`, `answer` and `extra` (every other field, keys sorted) are JSON: a text and a list stay apart."""

_REPEATING = ["user_id", "history.list.element", "target", "ratings.list.element", "source", "split"]
"""Columns of values that come again and again, kept once for each row group; elsewhere that costs time and bytes."""


class ContentDigest:
    """SHA-256 over the values of a table, in the order of its rows, wherever its parts begin and end.

    Every column is a few streams of bytes, little-endian: 1 or 0 for each value that is there or null; lengths in 32
    bits, -1 for null; and what is there of text (UTF-8), 32-bit integers and float64. The digest is one over theirs.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._streams = [hashlib.sha256() for field in schema for _ in _streams(pa.array([], field.type))]

    def update(self, table: pa.Table) -> None:
        """Add the rows of a table of the schema."""
        parts = (part for column in table.columns for part in _streams(column.combine_chunks()))
        for stream, part in zip(self._streams, parts, strict=True):
            stream.update(np.ascontiguousarray(part).data)

    def digest(self) -> bytes:
        """Return the 32 bytes."""
        return hashlib.sha256(b"".join(stream.digest() for stream in self._streams)).digest()


def _streams(array: pa.Array) -> Iterator[npt.NDArray[Any]]:
    """Yield what is digested of a column, as many arrays for each array of a type."""
    if types.is_list(array.type):
        yield _plain(pc.list_value_length(array).fill_null(-1), "<i4")
        yield from _streams(array.flatten())
    elif types.is_string(array.type):
        yield _plain(pc.binary_length(array).fill_null(-1), "<i4")
        there = array.drop_null()
        _, ends, text = there.buffers()
        bounds = np.frombuffer(ends, np.int32)[there.offset :][: len(there) + 1] if len(there) else np.zeros(1, int)
        yield np.frombuffer(text or b"", np.uint8)[bounds[0] : bounds[-1]]
    else:
        yield _plain(array.is_valid().cast(pa.uint8()), "u1")
        yield _plain(array.drop_null(), "<i4" if types.is_int32(array.type) else "<f8")


def _plain(array: pa.Array, kind: str) -> npt.NDArray[Any]:
    """Return an array without nulls."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=kind)


class TableWriter:
    """Writes rows, given as tuples in the order of the schema or as tables, to a Parquet file.

    The file is the same whichever way they come. A thread compresses one row group while the next one is gathered.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self.content = ContentDigest(schema)
        """Of all that was written, once the file is closed."""
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_REPEATING)
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pa.Table] = []
        """Of what comes before the rows; together less than a row group."""
        self._held = 0
        """Rows in the tables."""

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread ends before the file does.
        with self._writer, self._thread:
            if kind is None:
                self._gather()
                if self._held:
                    self._write(pa.concat_tables(self._tables))
                self._finish()

    def add(self, row: tuple[Any, ...]) -> None:
        """Add one row."""
        self._rows.append(row)
        if self._held + len(self._rows) == GROUP_ROWS:
            self._gather()

    def add_table(self, table: pa.Table) -> None:
        """Add rows, at most as many as fill a group."""
        self._gather()
        self._hold(table)

    def _gather(self) -> None:
        """Make a table of the rows that came one by one."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
            self._rows.clear()
            self._hold(pa.Table.from_arrays(arrays, schema=self._schema))

    def _hold(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._held += table.num_rows
        if self._held >= GROUP_ROWS:
            joined = pa.concat_tables(self._tables)
            self._write(joined.slice(0, GROUP_ROWS))
            rest = joined.slice(GROUP_ROWS)
            self._tables, self._held = [rest], rest.num_rows

    def _write(self, table: pa.Table) -> None:
        self._finish()
        # In one piece: where pages end depends on the pieces.
        self._writing = self._thread.submit(self._write_group, table.combine_chunks())

    def _write_group(self, table: pa.Table) -> None:
        self.content.update(table)
        self._writer.write_table(table, row_group_size=GROUP_ROWS)

    def _finish(self) -> None:
        """Wait for the row group that is being written, or raise what went wrong."""
        if self._writing is not None:
            self._writing.result()
