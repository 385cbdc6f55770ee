"""Events of a job, in a Redis stream: read a page of them, or follow them live."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import redis
import redis.asyncio

from minirec.api_schemas import Event


class EventLog:
    """Reads the events that the state machine writes."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix

    def read(self, job: str, *, after: str | None = None, limit: int = 100) -> list[Event]:
        """Up to `limit` events after the one with id `after`, oldest first."""
        start = "-" if after is None else f"({after}"
        entries = cast("list[Any]", self._redis.xrange(f"{self._prefix}job:{job}:events", min=start, count=limit))
        return [_event(job, entry_id, fields) for entry_id, fields in entries]


async def follow(
    connection: redis.asyncio.Redis, prefix: str, job: str, *, after: str | None = None, block_seconds: float = 10.0
) -> AsyncIterator[Event | None]:
    """Yield events of a job as they come, and None whenever nothing came for a while.

    Args:
        connection: Redis; the call occupies it.
        prefix: Prefix of all keys.
        job: Id of the job.
        after: Id of the event before the first one; None starts at the beginning.
        block_seconds: How long to wait for an event before None is yielded.
    """
    last = after or "0-0"
    key = f"{prefix}job:{job}:events"
    block = max(1, int(block_seconds * 1000))  # To Redis, 0 means for ever.
    while True:
        answer = cast("list[Any]", await connection.xread({key: last}, count=100, block=block))
        entries = _entries(answer)
        if not entries:
            yield None
        for entry_id, fields in entries:
            event = _event(job, entry_id, fields)
            last = event.id
            yield event


def _entries(answer: Any) -> list[Any]:
    # RESP2 answers a list of (stream, entries), RESP3 a mapping; one stream was asked for.
    if not answer:
        return []
    if isinstance(answer, dict):
        found = next(iter(answer.values()))
        return list(found[0]) if found and isinstance(found[0], list) else list(found)
    return list(answer[0][1])


def _event(job: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    return Event.model_validate(
        {
            "id": entry_id.decode(),
            "type": fields[b"type"].decode(),
            "job_id": job,
            "at": float(fields[b"at"]),
            "data": json.loads(fields[b"data"]) or {},
        }
    )
