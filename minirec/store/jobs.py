"""Reading jobs: what the state machine has recorded of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis

from minirec.api_schemas import DEFAULT_TENANT
from minirec.store.errors import NotFoundError
from minirec.store.tenants import index_of

PAGE = 200
"""Jobs looked at together where a list is filtered."""

GROUP_FIELDS = ("units", "done", "total", "progress", "cached")
"""Fields of a group, in the order of `GroupProgress`."""


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
    """Looks jobs up, those of one tenant or of all; never changes them."""

    def __init__(self, connection: redis.Redis, *, prefix: str, tenant: str | None = None) -> None:
        self._redis = connection
        self._prefix = prefix
        self._tenant = tenant

    def of_tenant(self, tenant: str) -> JobReader:
        """Return a reader of one tenant's jobs."""
        return JobReader(self._redis, prefix=self._prefix, tenant=tenant)

    def get(self, job: str) -> JobRecord:
        """One job. Raises NotFoundError."""
        found = self._records([job])
        if not found:
            raise NotFoundError(f"no job {job}")
        return found[0]

    def page(
        self,
        kind: str,
        *,
        limit: int,
        after: str | None = None,
        status: str | None = None,
        dataset_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[list[JobRecord], bool]:
        """Return jobs of a kind, newest first, and whether there are more.

        Only those that are returned are read whole: requests can be large.

        Args:
            kind: Name of the kind of job.
            limit: How many jobs at most.
            after: Id of the job before the first one; None starts at the newest.
            status: Only jobs in this status.
            dataset_id: Only jobs on this dataset.
            metadata: Only jobs with these pairs among their metadata.

        Raises:
            NotFoundError: `after` is not there.
        """
        wanted = {name: value for name, value in (("status", status), ("dataset_id", dataset_id)) if value is not None}
        chunk = PAGE if wanted or metadata else limit + 1
        found: list[str] = []
        for jobs in self._newest_first(kind, after, chunk):
            jobs = self._with_fields(jobs, wanted) if wanted else jobs
            found += self._with_metadata(jobs, metadata) if metadata else jobs
            if len(found) > limit:
                break
        return self._records(found[:limit]), len(found) > limit

    def facts(self, kind: str, *names: str) -> Iterator[dict[str, str | None]]:
        """Yield `id` and these fields of every job of a kind, newest first, and nothing more of it."""
        for jobs in self._newest_first(kind, None, PAGE):
            for job, values in zip(jobs, self._fields(jobs, names), strict=True):
                facts: dict[str, str | None] = dict(zip(names, values, strict=True))
                yield facts | {"id": job}

    def request_field(self, job: str, name: str) -> Any:
        """Return a field of what a job was asked, None where there is none. Reads all of the request."""
        raw = cast("bytes | None", self._redis.hget(f"{self._prefix}job:{job}", "request"))
        return None if raw is None else json.loads(raw).get(name)

    def stages(self, job: str) -> list[str]:
        """Return the names of the stages that a job has so far, in their order."""
        stored = cast("list[bytes]", self._redis.lrange(f"{self._prefix}job:{job}:stages", 0, -1))
        return [str(json.loads(raw)["name"]) for raw in stored]

    def traceparents(self, group: str) -> list[str]:
        """Return the traces that the jobs which wait for a group belong to, those that have one, oldest job first."""
        waiters = cast("set[bytes]", self._redis.smembers(f"{self._prefix}group:{group}:waiters"))
        found = self._fields([name.decode() for name in waiters], ("created_at", "traceparent"))
        return [trace for _, trace in sorted((at or "", trace) for at, trace in found if trace)]

    def active(self) -> Iterator[JobRecord]:
        """Yield the jobs that have not ended."""
        yield from self._records(self._active_ids())

    def active_states(self) -> list[tuple[str, str]]:
        """Return kind and status of every job that has not ended, and nothing more of it."""
        pipe = self._redis.pipeline(transaction=False)
        for job in self._active_ids():
            pipe.hmget(f"{self._prefix}job:{job}", ["kind", "status"])
        return [(kind.decode(), status.decode()) for kind, status in pipe.execute() if kind and status]

    @property
    def keys(self) -> tuple[redis.Redis, str]:
        """The connection, and what the names of all keys begin with, for other readers of jobs."""
        return self._redis, self._prefix

    def several(self, jobs: Iterable[str]) -> list[JobRecord]:
        """Return those of the jobs that are there and this reader may see."""
        return self._records(list(jobs))

    def group(self, name: str) -> tuple[int, dict[str, Any]]:
        """Units and spec that a group was opened with: settings may have changed since. Raises NotFoundError."""
        units, spec = cast("list[bytes | None]", self._redis.hmget(f"{self._prefix}group:{name}", ["units", "spec"]))
        if units is None or spec is None:
            raise NotFoundError(f"no group {name}")
        return int(units), json.loads(spec)

    def _newest_first(self, kind: str, after: str | None, chunk: int) -> Iterator[list[str]]:
        """Yield ids of a kind's jobs, `chunk` at a time."""
        index = index_of(f"{self._prefix}jobs:{kind}", self._tenant)
        start = 0
        if after is not None:
            rank = cast("int | None", self._redis.zrevrank(index, after))
            if rank is None:
                raise NotFoundError(f"no {kind} {after} to list after")
            start = rank + 1
        while page := cast("list[bytes]", self._redis.zrevrange(index, start, start + chunk - 1)):
            yield [member.decode() for member in page]
            # Jobs added meanwhile move the ranks.
            rank = cast("int | None", self._redis.zrevrank(index, page[-1]))
            start = start + chunk if rank is None else rank + 1

    def _active_ids(self) -> list[str]:
        members = cast("set[bytes]", self._redis.smembers(f"{self._prefix}jobs:active"))
        return sorted(member.decode() for member in members)

    def _with_fields(self, jobs: list[str], wanted: Mapping[str, str]) -> list[str]:
        """Return those of the jobs whose fields have these values."""
        expected = list(wanted.values())
        return [job for job, values in zip(jobs, self._fields(jobs, wanted), strict=True) if values == expected]

    def _with_metadata(self, jobs: list[str], wanted: Mapping[str, str]) -> list[str]:
        """Return those of the jobs that have these pairs among their metadata."""
        found = []
        for job, (stored,) in zip(jobs, self._fields(jobs, ("metadata",)), strict=True):
            # Releases before 0.2 have it in the request only.
            metadata = self.request_field(job, "metadata") if stored is None else json.loads(stored)
            if wanted.items() <= (metadata or {}).items():
                found.append(job)
        return found

    def _fields(self, jobs: list[str], names: Iterable[str]) -> list[list[str | None]]:
        """Return these fields of each job, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for job in jobs:
            pipe.hmget(f"{self._prefix}job:{job}", list(names))
        return [[None if value is None else value.decode() for value in values] for values in pipe.execute()]

    def _records(self, jobs: list[str]) -> list[JobRecord]:
        """Return the jobs that are there, in two round trips however many they are."""
        pipe = self._redis.pipeline(transaction=False)
        for job in jobs:
            pipe.hgetall(f"{self._prefix}job:{job}")
        read = [{key.decode(): value.decode() for key, value in raw.items()} for raw in pipe.execute()]
        found = [fields for fields in read if fields and self._tenant in (None, fields.get("tenant", DEFAULT_TENANT))]
        for fields in found:
            pipe.hmget(f"{self._prefix}group:{fields.get('group', '')}", GROUP_FIELDS)
        groups = pipe.execute()
        return [_record(fields, values) for fields, values in zip(found, groups, strict=True)]


def _record(fields: dict[str, str], group: list[bytes | None]) -> JobRecord:
    progress = GroupProgress(*(int(value or 0) for value in group)) if fields.get("group") else None
    return JobRecord(fields["id"], fields["kind"], fields["status"], fields.get("stage"), fields, progress)
