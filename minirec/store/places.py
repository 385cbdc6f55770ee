"""Where a job stands in its queue while no worker has its work in hand, and which jobs wait for the same work."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from minirec.api_schemas import DEFAULT_TENANT
from minirec.store.jobs import JobReader, JobRecord

SHARED_SHOWN = 20
"""Jobs that are named of those that wait for the same work."""

LOOKED_AT = 200
"""Open groups that are looked at one by one; of more, only the length of the line is told, which costs nothing."""


@dataclass(frozen=True)
class Place:
    """The place of a job."""

    queue: str
    ahead: int | None
    """Groups of the same tenant and queue that are done first or just now; None while its own is being done.

    Where more than LOOKED_AT are open, those that are just being done are not counted.
    """
    starts_at: float | None
    """When those ahead will be through, in seconds since 1970; None without any, or where one has no pace yet."""
    shared_with: list[str]


@dataclass(frozen=True)
class _Group:
    """A group that may come first."""

    leased: int
    total: int
    progress: int
    cached: int
    waiters: list[str]


def place_of(jobs: JobReader, record: JobRecord) -> Place | None:
    """Return the place of a job; None where it has ended, or waits for nothing."""
    group = record.fields.get("group")
    if record.status not in ("queued", "running") or not group:
        return None
    redis, prefix = jobs.keys
    key = f"{prefix}group:{group}"
    pipe = redis.pipeline(transaction=False)
    pipe.hmget(key, ["queue", "tenant", "state"])
    pipe.zcard(f"{key}:leased")
    pipe.smembers(f"{key}:waiters")
    (stored_queue, tenant, state), leased, waiters = pipe.execute()
    if stored_queue is None or state != b"open":
        return None
    queue = stored_queue.decode()
    others = sorted(name.decode() for name in waiters if name.decode() != record.id)[:SHARED_SHOWN]
    shared = [other.id for other in jobs.several(others)]
    if leased:
        return Place(queue, None, None, shared)
    owner = tenant.decode() if tenant else DEFAULT_TENANT
    if redis.scard(f"{prefix}groups:open") > LOOKED_AT:
        line = _line(prefix, queue, owner)
        rank = cast("int | None", redis.zrank(line, group))
        return Place(queue, redis.zcard(line) if rank is None else rank, None, shared)
    ahead = _ahead(jobs, group, queue, owner)
    return Place(queue, len(ahead), _through(jobs, ahead) if ahead else None, shared)


def _line(prefix: str, queue: str, tenant: str) -> str:
    """Return the key of a tenant's groups in a queue, those that are done first in front."""
    return f"{prefix}queue:{queue}:{tenant}"


def _ahead(jobs: JobReader, group: str, queue: str, tenant: str) -> list[_Group]:
    """Return the groups that stand before one in its line, and those of its queue that are being done."""
    redis, prefix = jobs.keys
    line = [name.decode() for name in cast("list[bytes]", redis.zrange(_line(prefix, queue, tenant), 0, -1))]
    before = set(line[: line.index(group)] if group in line else line)
    opened = {name.decode() for name in cast("set[bytes]", redis.smembers(f"{prefix}groups:open"))}
    found = _groups(jobs, sorted((opened | before) - {group}), queue, tenant)
    return [each for name, each in found.items() if name in before or each.leased]


def _groups(jobs: JobReader, names: Iterable[str], queue: str, tenant: str) -> dict[str, _Group]:
    """Return those of the groups that are open and of a queue and tenant."""
    redis, prefix = jobs.keys
    names = list(names)
    pipe = redis.pipeline(transaction=False)
    for name in names:
        key = f"{prefix}group:{name}"
        pipe.hmget(key, ["state", "queue", "tenant", "total", "progress", "cached"])
        pipe.zcard(f"{key}:leased")
        pipe.smembers(f"{key}:waiters")
    answers: list[Any] = pipe.execute()
    found = {}
    for name, facts, leased, waiters in zip(names, answers[::3], answers[1::3], answers[2::3], strict=True):
        state, its_queue, owner, *numbers = (value.decode() if value else "" for value in facts)
        if (state, its_queue, owner or DEFAULT_TENANT) == ("open", queue, tenant) and waiters:
            total, progress, cached = (int(number or 0) for number in numbers)
            found[name] = _Group(leased, total, progress, cached, [waiter.decode() for waiter in waiters])
    return found


def _through(jobs: JobReader, groups: Iterable[_Group]) -> float | None:
    """Return when groups will be through, one after the other, each at its own pace since its first job came to it."""
    now = at = time.time()
    for group in groups:
        starts = [record.time("stage_at") for record in jobs.several(group.waiters)]
        since = min((start for start in starts if start is not None), default=now)
        computed = group.progress - group.cached
        if computed <= 0 or since >= now:
            return None
        at += (group.total - group.progress) * (now - since) / computed
    return at
