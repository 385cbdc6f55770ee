"""Reading jobs: what the state machine has recorded of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from minirec.store.errors import NotFoundError

PAGE = 200


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """How far the group that a job waits for has come."""

    units: int
    done: int
    total: int
    progress: int
    cached: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as recorded, with the progress of its current stage."""

    id: str
    kind: str
    status: str
    stage: str | None
    fields: dict[str, str]
    group: GroupProgress | None

    def json(self, name: str) -> Any:
        """A field that holds JSON, or None."""
        value = self.fields.get(name)
        return None if value is None else json.loads(value)

    def time(self, name: str) -> float | None:
        value = self.fields.get(name)
        return None if value is None else float(value)


class JobReader:
    """Looks jobs up; never changes them."""

    def __init__(self, connection: redis.Redis, *, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix

    def get(self, job: str) -> JobRecord:
        """One job. Raises NotFoundError."""
        fields = self._fields([job])[0]
        if not fields:
            raise NotFoundError(f"no job {job}")
        return self._record(fields)

    def page(
        self,
        kind: str,
        *,
        limit: int,
        after: str | None = None,
        status: str | None = None,
        dataset_id: str | None = None,
    ) -> tuple[list[JobRecord], bool]:
        """Up to `limit` jobs of a kind, newest first, and whether there are more. Raises NotFoundError for `after`."""
        found: list[JobRecord] = []
        for fields in self._newest_first(kind, after):
            if status is not None and fields["status"] != status:
                continue
            if dataset_id is not None and fields.get("dataset_id") != dataset_id:
                continue
            if len(found) == limit:
                return found, True
            found.append(self._record(fields))
        return found, False

    def active(self) -> Iterator[JobRecord]:
        """Jobs that have not ended."""
        members = cast("set[bytes]", self._redis.smembers(f"{self._prefix}jobs:active"))
        for fields in self._fields(sorted(member.decode() for member in members)):
            if fields:
                yield self._record(fields)

    def group(self, name: str) -> tuple[int, dict[str, Any]]:
        """Units and spec that a group was opened with: settings may have changed since. Raises NotFoundError."""
        units, spec = cast("list[bytes | None]", self._redis.hmget(f"{self._prefix}group:{name}", ["units", "spec"]))
        if units is None or spec is None:
            raise NotFoundError(f"no group {name}")
        return int(units), json.loads(spec)

    def _newest_first(self, kind: str, after: str | None) -> Iterator[dict[str, str]]:
        index = f"{self._prefix}jobs:{kind}"
        start = 0
        if after is not None:
            rank = cast("int | None", self._redis.zrevrank(index, after))
            if rank is None:
                raise NotFoundError(f"no {kind} {after} to list after")
            start = rank + 1
        while page := cast("list[bytes]", self._redis.zrevrange(index, start, start + PAGE - 1)):
            yield from (fields for fields in self._fields([member.decode() for member in page]) if fields)
            start += PAGE

    def _fields(self, jobs: list[str]) -> list[dict[str, str]]:
        pipe = self._redis.pipeline(transaction=False)
        for job in jobs:
            pipe.hgetall(f"{self._prefix}job:{job}")
        return [{key.decode(): value.decode() for key, value in raw.items()} for raw in pipe.execute()]

    def _record(self, fields: dict[str, str]) -> JobRecord:
        group = None
        if name := fields.get("group"):
            names = ("units", "done", "total", "progress", "cached")
            values = cast("list[bytes | None]", self._redis.hmget(f"{self._prefix}group:{name}", names))
            group = GroupProgress(*(int(value or 0) for value in values))
        return JobRecord(fields["id"], fields["kind"], fields["status"], fields.get("stage"), fields, group)
