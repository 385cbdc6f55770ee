"""What the workers that run models compute on, as they report it: by it `auto` dtypes are resolved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a worker."""

    type: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    """What `auto` means there."""


class DeviceRecord:
    """The device of the worker of the gpu queue that was started last."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._key = f"{prefix}device"

    def report(self, device: Device) -> None:
        """Say what this worker computes on."""
        self._redis.set(self._key, json.dumps(asdict(device)))

    def last(self) -> Device | None:
        """Return what was reported last; None where no worker ever has."""
        stored = cast("bytes | None", self._redis.get(self._key))
        return None if stored is None else Device(**json.loads(stored))
