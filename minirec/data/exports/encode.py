"""Rows as bytes: the same rows give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_ROWS = 1024

SCORES = [
    pa.field("pass_rate", pa.float64()),
    pa.field("reward_mean", pa.float64()),
    pa.field("reward_std", pa.float64()),
    pa.field("n_rollouts", pa.int64()),
    pa.field("learnability", pa.float64()),
    pa.field("representativeness", pa.float64()),
]
PLACES = [pa.field("position", pa.int64()), pa.field("rank", pa.int64()), pa.field("stage", pa.int64())]
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def prefixed(fields: Sequence[pa.Field]) -> list[pa.Field]:
    """Return the fields under names that collide with none of a trainer's."""
    return [field.with_name(f"minirec_{field.name}") for field in fields]


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield one JSON object per line."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def json_text(value: Any) -> str:
    """Return a value as JSON, the same for the same value; integers of any size, which faster libraries refuse."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[bytes]:
    """Yield one Parquet file. The types are the schema's, never guessed from the rows: files of several exports fit."""
    rows = iter(rows)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, CHUNK_ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
    yield sink.getvalue()
