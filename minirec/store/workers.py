"""The workers that live: each says every few seconds that it does, and what it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import redis

from minirec.api_schemas import Worker

REPORT_SECONDS: Final = 5.0
"""Between two reports of a worker."""
SILENT_SECONDS: Final = 60.0
"""A worker that was not heard of for so long is no longer listed."""


@dataclass(frozen=True)
class WorkerRecords:
    """The reports of the workers. Times are those of Redis, so that clocks of machines need not agree."""

    connection: redis.Redis
    prefix: str

    @property
    def _seen(self) -> str:
        return f"{self.prefix}workers"

    @property
    def _about(self) -> str:
        return f"{self.prefix}workers:about"

    def report(self, worker: Worker) -> None:
        """Record that a worker lives; its `seen_at` is filled in here."""
        now = self._now()
        with self.connection.pipeline() as pipe:
            pipe.zadd(self._seen, {worker.name: now})
            pipe.hset(self._about, worker.name, worker.model_copy(update={"seen_at": now}).model_dump_json())
            pipe.execute()

    def leave(self, name: str) -> None:
        """Forget a worker that ends."""
        self._forget([name])

    def alive(self) -> list[Worker]:
        """Return the workers that were heard of within `SILENT_SECONDS`, by name; forget the others."""
        silent = cast("list[bytes]", self.connection.zrangebyscore(self._seen, "-inf", self._now() - SILENT_SECONDS))
        if silent:
            self._forget([name.decode() for name in silent])
        stored = cast("list[bytes]", self.connection.hvals(self._about))
        return sorted((Worker.model_validate_json(about) for about in stored), key=lambda worker: worker.name)

    def _forget(self, names: list[str]) -> None:
        with self.connection.pipeline() as pipe:
            pipe.zrem(self._seen, *names)
            pipe.hdel(self._about, *names)
            pipe.execute()

    def _now(self) -> float:
        seconds, micros = self.connection.time()
        return seconds + micros / 1e6
