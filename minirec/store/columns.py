"""Columns of numbers, one row per sample, packed per shard in a Redis hash.

One field of one hash holds a whole shard: a version byte, a CRC-32 and a safetensors body. A million samples
cost 28 bytes each this way, against 184 as a hash per sample.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import redis
from safetensors.numpy import load, save

from minirec.store.errors import ColumnsCorruptError, NotFoundError

VERSION = 1
ROWS_PER_SHARD = 65_536
_HEADER = struct.Struct("<BIQ")  # version, CRC-32 of the body, rows

Columns = dict[str, np.ndarray[Any, Any]]


def pack(columns: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Columns with the same number of rows, as bytes."""
    rows = {len(values) for values in columns.values()}
    if len(rows) != 1:
        raise ValueError(f"columns of one shard have {sorted(rows)} rows; they must agree")
    body = save({name: np.ascontiguousarray(values) for name, values in columns.items()})
    return _HEADER.pack(VERSION, zlib.crc32(body), rows.pop()) + body


def unpack(data: bytes) -> Columns:
    """What `pack` packed. Raises ColumnsCorruptError."""
    if len(data) < _HEADER.size:
        raise ColumnsCorruptError("columns are cut short")
    version, crc, rows = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if version != VERSION:
        raise ColumnsCorruptError(f"columns have format {version}; this version reads {VERSION}")
    if zlib.crc32(body) != crc:
        raise ColumnsCorruptError("columns fail their checksum")
    columns = load(body)
    if any(len(values) != rows for values in columns.values()):
        raise ColumnsCorruptError(f"columns do not have the {rows} rows that they should")
    return columns


def shard_field(shard: int) -> str:
    """Name of a shard's hash field; fields sort in shard order."""
    return f"{shard:08d}"


class ColumnStore:
    """Reads and writes packed columns by name."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix

    @staticmethod
    def key(name: str) -> str:
        """The hash of a name, below the store's prefix."""
        return f"columns:{name}"

    def shards_of(self, name: str, columns: Mapping[str, np.ndarray[Any, Any]]) -> list[tuple[str, str, bytes]]:
        """The hash writes that store whole columns, cut into shards: for a unit's commit."""
        rows = len(next(iter(columns.values())))
        return [
            (
                self.key(name),
                shard_field(shard),
                pack({key: values[start : start + ROWS_PER_SHARD] for key, values in columns.items()}),
            )
            for shard, start in enumerate(range(0, max(rows, 1), ROWS_PER_SHARD))
        ]

    def read(self, name: str) -> Columns:
        """All rows of a name. Raises NotFoundError."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(self._prefix + self.key(name)))
        if not stored:
            raise NotFoundError(f"no columns are stored as {name}")
        parts = [unpack(stored[field]) for field in sorted(stored)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def delete(self, name: str) -> None:
        self._redis.delete(self._prefix + self.key(name))
