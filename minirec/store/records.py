"""Records that are written once and looked up by id: datasets, and answers to idempotent requests."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, cast

import redis

from api_schemas import Dataset, Signals
from minirec.store.errors import NotFoundError

IDEMPOTENCY_SECONDS = 24 * 3600
UNFINISHED_SECONDS = 60


class DatasetRecords:
    """Datasets by id, newest first in lists."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._hash = f"{prefix}datasets"
        self._index = f"{prefix}datasets:index"

    def put(self, dataset: Dataset) -> None:
        pipe = self._redis.pipeline()
        pipe.hset(self._hash, dataset.id, dataset.model_dump_json())
        pipe.zadd(self._index, {dataset.id: dataset.created_at})
        pipe.execute()

    def get(self, dataset_id: str) -> Dataset:
        """One dataset. Raises NotFoundError."""
        stored = cast("bytes | None", self._redis.hget(self._hash, dataset_id))
        if stored is None:
            raise NotFoundError(f"no dataset {dataset_id}")
        return Dataset.model_validate_json(stored)

    def all(self) -> list[Dataset]:
        """Every dataset, in no order."""
        stored = cast("list[bytes]", self._redis.hvals(self._hash))
        return [Dataset.model_validate_json(raw) for raw in stored]

    def page(self, *, limit: int, after: str | None = None) -> tuple[list[Dataset], bool]:
        """Up to `limit` datasets, newest first, and whether there are more. Raises NotFoundError for `after`."""
        start = 0
        if after is not None:
            rank = cast("int | None", self._redis.zrevrank(self._index, after))
            if rank is None:
                raise NotFoundError(f"no dataset {after} to list after")
            start = rank + 1
        ids = cast("list[bytes]", self._redis.zrevrange(self._index, start, start + limit))
        stored = cast("list[bytes | None]", self._redis.hmget(self._hash, ids)) if ids else []
        found = [Dataset.model_validate_json(raw) for raw in stored if raw is not None]
        return found[:limit], len(ids) > limit

    def delete(self, dataset_id: str) -> bool:
        """Forget a dataset; True when its content is used by no other."""
        content = self.get(dataset_id).content_hash
        pipe = self._redis.pipeline()
        pipe.hdel(self._hash, dataset_id)
        pipe.zrem(self._index, dataset_id)
        pipe.execute()
        others = cast("list[bytes]", self._redis.hvals(self._hash))
        return all(json.loads(raw)["content_hash"] != content for raw in others)


class SignalRecords:
    """The signals that were last uploaded for each dataset."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._hash = f"{prefix}signals"

    def put(self, signals: Signals) -> None:
        self._redis.hset(self._hash, signals.dataset_id, signals.model_dump_json())

    def get(self, dataset_id: str) -> Signals | None:
        stored = cast("bytes | None", self._redis.hget(self._hash, dataset_id))
        return None if stored is None else Signals.model_validate_json(stored)

    def delete(self, dataset_id: str) -> None:
        self._redis.hdel(self._hash, dataset_id)


@dataclass(frozen=True, slots=True)
class Replay:
    """An answer given before."""

    status: int
    body: bytes
    headers: dict[str, str]


class IdempotencyConflictError(ValueError):
    """The key was used for another request, or its first request is still being answered."""

    def __init__(self, message: str, *, in_progress: bool) -> None:
        super().__init__(message)
        self.in_progress = in_progress


class IdempotencyRecords:
    """Answers by idempotency key, kept for a day."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._prefix = f"{prefix}idempotency:"

    def begin(self, key: str, fingerprint: str, *, seconds: int = UNFINISHED_SECONDS) -> Replay | None:
        """Reserve a key while its request is answered, or return the answer it had. Raises IdempotencyConflictError."""
        entry = json.dumps({"fingerprint": fingerprint, "at": time.time()})
        if self._redis.set(self._prefix + key, entry, nx=True, ex=seconds):
            return None
        stored: dict[str, Any] = json.loads(cast("bytes | None", self._redis.get(self._prefix + key)) or b"{}")
        if stored.get("fingerprint") not in (None, fingerprint):
            raise IdempotencyConflictError("this Idempotency-Key was used for another request", in_progress=False)
        if "status" not in stored:
            raise IdempotencyConflictError("the first request with this key is being answered", in_progress=True)
        return Replay(stored["status"], stored["body"].encode(), stored["headers"])

    def finish(self, key: str, fingerprint: str, replay: Replay) -> None:
        """Keep the answer for the next request with this key."""
        entry = {
            "fingerprint": fingerprint,
            "status": replay.status,
            "body": replay.body.decode(),
            "headers": replay.headers,
        }
        self._redis.set(self._prefix + key, json.dumps(entry), ex=IDEMPOTENCY_SECONDS)

    def abandon(self, key: str) -> None:
        """Free a key whose request failed: the client may try again with it."""
        self._redis.delete(self._prefix + key)
