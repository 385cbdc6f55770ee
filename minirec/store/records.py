"""Records that are written once and looked up by id: datasets, and answers to idempotent requests."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from minirec.api_schemas import DEFAULT_TENANT, Dataset, Signals
from minirec.store.errors import NotFoundError
from minirec.store.tenants import index_of

IDEMPOTENCY_SECONDS = 24 * 3600
UNFINISHED_SECONDS = 60
PAGE = 200
"""Datasets looked at together where a list is filtered."""
_REPLACE = """
-- Only while the key is free again or still the owner's: its answer is then stored, or, empty, the key freed.
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).owner ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return 1
"""

_READY = """
-- A dataset that was being checked is one, unless it was deleted meanwhile.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return redis.call('HEXISTS', KEYS[2], ARGV[1]) end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
"""


class DatasetRecords:
    """Datasets by id, newest first in lists: those of one tenant, or of all."""

    def __init__(self, connection: redis.Redis, *, prefix: str, tenant: str | None = None) -> None:
        self._redis = connection
        self._prefix = prefix
        self._tenant = tenant
        self._hash = f"{prefix}datasets"
        self._unready = f"{prefix}datasets:unready"
        """Datasets whose files are being checked, or were found faulty: of no use but to be looked at and deleted."""
        self._ready = connection.register_script(_READY)
        self._tenants = f"{prefix}datasets:tenants"
        """Tenants of datasets, but for the default tenant's."""

    def of_tenant(self, tenant: str) -> DatasetRecords:
        """Return the datasets of one tenant."""
        return DatasetRecords(self._redis, prefix=self._prefix, tenant=tenant)

    def put(self, dataset: Dataset) -> None:
        """Add or replace a dataset."""
        self._put(self._hash, dataset)

    def put_unready(self, dataset: Dataset) -> None:
        """Add a dataset whose files are still to be checked."""
        self._put(self._unready, dataset)

    def ready(self, dataset: Dataset) -> bool:
        """Turn a dataset whose files were checked into one that can be used; False if it was deleted meanwhile."""
        args = [dataset.id, dataset.model_dump_json()]
        return bool(self._ready(keys=[self._unready, self._hash], args=args))

    def _put(self, where: str, dataset: Dataset) -> None:
        pipe = self._redis.pipeline()
        if self._tenant not in (None, DEFAULT_TENANT):
            pipe.hset(self._tenants, dataset.id, str(self._tenant))
        pipe.hset(where, dataset.id, dataset.model_dump_json())
        pipe.zadd(self._index(self._tenant), {dataset.id: dataset.created_at})
        pipe.execute()

    def get(self, dataset_id: str) -> Dataset:
        """One dataset. Raises NotFoundError, also for one that is not ready."""
        return self._get(self._hash, dataset_id)

    def get_unready(self, dataset_id: str) -> Dataset:
        """Return one dataset that is not ready, as it was put. Raises NotFoundError."""
        return self._get(self._unready, dataset_id)

    def tenant_of(self, dataset_id: str) -> str:
        """Return whose a dataset is, ready or not."""
        owner = cast("bytes | None", self._redis.hget(self._tenants, dataset_id))
        return DEFAULT_TENANT if owner is None else owner.decode()

    def _get(self, where: str, dataset_id: str) -> Dataset:
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(where, dataset_id)
        pipe.hget(self._tenants, dataset_id)
        stored, owner = cast("list[bytes | None]", pipe.execute())
        if stored is None or self._tenant not in (None, DEFAULT_TENANT if owner is None else owner.decode()):
            raise NotFoundError(f"no dataset {dataset_id}")
        return Dataset.model_validate_json(stored)

    def all(self) -> list[Dataset]:
        """Every dataset, of every tenant, in no order."""
        stored = cast("list[bytes]", self._redis.hvals(self._hash))
        return [Dataset.model_validate_json(raw) for raw in stored]

    def page(
        self, *, limit: int, after: str | None = None, name: str | None = None, content_hash: str | None = None
    ) -> tuple[list[Dataset], bool]:
        """Up to `limit` datasets, newest first, and whether there are more; those that are not ready, as they were put.

        Args:
            limit: How many datasets at most.
            after: Id of the dataset before the first one; None starts at the newest.
            name: Only datasets of exactly this name.
            content_hash: Only datasets with this content.

        Raises:
            NotFoundError: `after` is not there.
        """
        filtered = name is not None or content_hash is not None
        found: list[Dataset] = []
        for datasets in self._newest_first(after, PAGE if filtered else limit + 1):
            found += [
                dataset
                for dataset in datasets
                if (name is None or dataset.name == name)
                and (content_hash is None or dataset.content_hash == content_hash)
            ]
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    def _newest_first(self, after: str | None, chunk: int) -> Iterator[list[Dataset]]:
        """Yield datasets, up to `chunk` at a time. Raises NotFoundError for `after`."""
        index = self._index(self._tenant)
        start = 0
        if after is not None:
            rank = cast("int | None", self._redis.zrevrank(index, after))
            if rank is None:
                raise NotFoundError(f"no dataset {after} to list after")
            start = rank + 1
        while ids := cast("list[bytes]", self._redis.zrevrange(index, start, start + chunk - 1)):
            pipe = self._redis.pipeline()
            for where in (self._hash, self._unready):
                pipe.hmget(where, ids)
            stored = cast("list[list[bytes | None]]", pipe.execute())
            raws = (ready or unready for ready, unready in zip(*stored, strict=True))
            yield [Dataset.model_validate_json(raw) for raw in raws if raw is not None]
            # Datasets added meanwhile move the ranks.
            rank = cast("int | None", self._redis.zrevrank(index, ids[-1]))
            start = start + chunk if rank is None else rank + 1

    def delete(self, dataset_id: str) -> bool:
        """Forget a dataset; True when its content is used by no other. Raises NotFoundError."""
        content = self.get(dataset_id).content_hash
        self._delete(self._hash, dataset_id)
        others = cast("list[bytes]", self._redis.hvals(self._hash))
        return all(json.loads(raw)["content_hash"] != content for raw in others)

    def delete_unready(self, dataset_id: str) -> None:
        """Forget a dataset that is not ready. Raises NotFoundError."""
        self.get_unready(dataset_id)
        self._delete(self._unready, dataset_id)

    def _delete(self, where: str, dataset_id: str) -> None:
        owner = self.tenant_of(dataset_id)
        pipe = self._redis.pipeline()
        pipe.hdel(where, dataset_id)
        pipe.hdel(self._tenants, dataset_id)
        pipe.zrem(self._index(owner), dataset_id)
        pipe.execute()

    def _index(self, tenant: str | None) -> str:
        return index_of(f"{self._prefix}datasets:index", tenant)


class SignalRecords:
    """The signals that were last uploaded for each dataset: of one tenant's datasets, or of all."""

    def __init__(self, connection: redis.Redis, *, prefix: str, datasets: DatasetRecords | None = None) -> None:
        self._redis = connection
        self._prefix = prefix
        self._datasets = datasets
        self._hash = f"{prefix}signals"

    def of_tenant(self, tenant: str) -> SignalRecords:
        """Return the signals of one tenant's datasets."""
        datasets = DatasetRecords(self._redis, prefix=self._prefix, tenant=tenant)
        return SignalRecords(self._redis, prefix=self._prefix, datasets=datasets)

    def put(self, signals: Signals) -> None:
        """Add signals, or replace those of the same dataset."""
        self._redis.hset(self._hash, signals.dataset_id, signals.model_dump_json())

    def get(self, dataset_id: str) -> Signals | None:
        """Return the signals of a dataset, null where there are none. Raises NotFoundError for another's dataset."""
        if self._datasets is not None:
            self._datasets.get(dataset_id)
        stored = cast("bytes | None", self._redis.hget(self._hash, dataset_id))
        return None if stored is None else Signals.model_validate_json(stored)

    def all(self) -> list[Signals]:
        """Every dataset's signals, of every tenant, in no order."""
        return [Signals.model_validate_json(raw) for raw in cast("list[bytes]", self._redis.hvals(self._hash))]

    def delete(self, dataset_id: str) -> None:
        """Forget the signals of a dataset."""
        self._redis.hdel(self._hash, dataset_id)


@dataclass(frozen=True, slots=True)
class Replay:
    """An answer given before."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A key that a request holds while it is being answered."""

    key: str
    fingerprint: str
    owner: str
    """Random: a request that took longer than its reservation cannot touch the next one's."""


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
        self._script = connection.register_script(_REPLACE)

    def begin(self, key: str, fingerprint: str, *, seconds: int = UNFINISHED_SECONDS) -> Reservation | Replay:
        """Reserve a key while its request is answered, or return the answer it had. Raises IdempotencyConflictError."""
        reservation = Reservation(key, fingerprint, secrets.token_hex(8))
        entry = json.dumps({"fingerprint": fingerprint, "owner": reservation.owner})
        found = None
        while found is None:  # It may run out between the two.
            if self._redis.set(self._prefix + key, entry, nx=True, ex=seconds):
                return reservation
            found = cast("bytes | None", self._redis.get(self._prefix + key))
        stored: dict[str, Any] = json.loads(found)
        if stored.get("fingerprint") not in (None, fingerprint):
            raise IdempotencyConflictError("this Idempotency-Key was used for another request", in_progress=False)
        if "status" not in stored:
            raise IdempotencyConflictError("the first request with this key is being answered", in_progress=True)
        return Replay(stored["status"], stored["body"].encode(), stored["headers"])

    def first(self, key: str, fingerprint: str, value: str) -> str:
        """Return the value that the first attempt at a request gave, this one if it is the first; kept for a day."""
        name = f"{self._prefix}{key}:{fingerprint}"
        self._redis.set(name, value, nx=True, ex=IDEMPOTENCY_SECONDS)
        return cast(bytes, self._redis.get(name)).decode()

    def finish(self, reservation: Reservation, replay: Replay) -> bool:
        """Keep the answer for the next request with this key; False when the key is another request's by now."""
        entry = {
            "fingerprint": reservation.fingerprint,
            "status": replay.status,
            "body": replay.body.decode(),
            "headers": replay.headers,
        }
        return self._replace(reservation, json.dumps(entry))

    def renew(self, reservation: Reservation, *, seconds: int) -> bool:
        """Keep a key reserved for so long from now; False when it is another request's by now."""
        entry = json.dumps({"fingerprint": reservation.fingerprint, "owner": reservation.owner})
        return self._replace(reservation, entry, seconds)

    def abandon(self, reservation: Reservation) -> bool:
        """Free a key whose request failed: the client may try again with it. False when it is another's by now."""
        return self._replace(reservation, "")

    def _replace(self, reservation: Reservation, entry: str, seconds: int = IDEMPOTENCY_SECONDS) -> bool:
        key = self._prefix + reservation.key
        return bool(self._script(keys=[key], args=[reservation.owner, entry, seconds]))
