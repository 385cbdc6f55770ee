"""What processes without a port of their own count; the service shows it in `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import redis

LEASES_EXPIRED: Final = "leases_expired"
UNITS: Final = "units"
"""By handler and by what came of the unit."""
UNIT_SECONDS: Final = "unit_seconds"
SAMPLES: Final = "samples"
"""Samples, items or updates of units that were committed, by handler."""


@dataclass(frozen=True)
class Counters:
    """Numbers that only grow, each under a name and the values of its labels."""

    connection: redis.Redis
    prefix: str

    @property
    def _key(self) -> str:
        return f"{self.prefix}counters"

    def add(self, amounts: Mapping[tuple[str, ...], float]) -> None:
        """Raise counters, each named by (name, label, ...), in one message."""
        with self.connection.pipeline(transaction=False) as pipe:
            for name, amount in amounts.items():
                pipe.hincrbyfloat(self._key, ":".join(name), amount)
            pipe.execute()

    def read(self) -> dict[tuple[str, ...], float]:
        """Return all of them."""
        stored = cast("dict[bytes, bytes]", self.connection.hgetall(self._key))
        return {tuple(name.decode().split(":")): float(value) for name, value in stored.items()}
