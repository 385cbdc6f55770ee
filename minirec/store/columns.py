"""Columns of numbers, one row per sample, packed per shard in a Redis hash: one field holds a whole shard.

What a million samples cost is in docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import redis

from minirec.store.errors import ColumnsCorruptError, ColumnsMissingError
from minirec.store.packed import Columns as Columns
from minirec.store.packed import as_shown as as_shown
from minirec.store.packed import pack as pack
from minirec.store.packed import unpack as unpack

ROWS_PER_SHARD = 65_536


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

    def read(self, name: str, *, shards: int | None = None) -> Columns:
        """Return all rows of a name, stored in `shards` parts. Raises ColumnsMissingError or ColumnsCorruptError."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(self._prefix + self.key(name)))
        if not stored:
            raise ColumnsMissingError(name)
        there = sorted(int(field) for field in stored)
        if missing := sorted(set(range(shards or there[-1])) - set(there)):
            raise ColumnsMissingError(name, missing)
        parts, lost = [], []
        for shard in there:
            try:
                parts.append(unpack(stored[shard_field(shard).encode()]))
            except ColumnsCorruptError as error:
                lost.append((shard, error))
        if lost:
            names = [f"{self.key(name)}#{shard}" for shard, _ in lost]
            raise ColumnsCorruptError(f"{names[0]} cannot be read: {lost[0][1]}", names)
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def size(self, name: str) -> int:
        """Return how many bytes a name takes in Redis; 0 if it is not there."""
        return int(self._redis.memory_usage(self._prefix + self.key(name), samples=0) or 0)

    def delete(self, name: str) -> None:
        self._redis.delete(self._prefix + self.key(name))
