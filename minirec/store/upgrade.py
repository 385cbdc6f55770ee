"""What earlier releases called otherwise, renamed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from redis.client import Pipeline

if TYPE_CHECKING:
    from minirec.store import Store

RENAMED_KINDS = {"training": "training_job"}
"""Kinds of jobs by their names until release 0.1."""


def rename_kinds(store: Store) -> int:
    """List jobs of earlier releases under their kind's present name; return how many there were. Cheap when none are.

    Jobs that a service of the earlier release adds meanwhile are found by the next call.
    """
    renamed = 0
    for before, now in RENAMED_KINDS.items():
        old, new = f"{store.prefix}jobs:{before}", f"{store.prefix}jobs:{now}"
        if not store.redis.exists(old):
            continue

        def move(pipe: Pipeline, old: str = old, new: str = new, before: str = before, now: str = now) -> int:
            jobs = cast("list[tuple[bytes, float]]", pipe.zrange(old, 0, -1, withscores=True))
            pipe.multi()
            for job, _ in jobs:
                pipe.hset(f"{store.prefix}job:{job.decode()}", "kind", now)
            if jobs:
                pipe.zadd(new, dict(jobs))
                pipe.sadd(f"{store.prefix}kinds", now)
            pipe.delete(old)
            pipe.srem(f"{store.prefix}kinds", before)
            return len(jobs)

        # Repeated when a job is added or deleted meanwhile.
        renamed += cast(int, store.redis.transaction(move, old, value_from_callable=True))  # type: ignore[arg-type]  # typed as returning None
    return renamed
