"""The end of jobs: deleted when a client says so, or when they have been finished for long enough.

Groups, and what they wrote, are kept by the jobs that name them (`machine.lua`). What is left when the last of them
goes is garbage, which the janitor removes (`minirec.store.garbage`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from minirec.store.errors import InUseError, NotFoundError
from minirec.store.names import dataset_outputs, outputs_of, signals_blob

if TYPE_CHECKING:
    from minirec.store import Store

DAY = 24 * 3600.0


def delete_job(store: Store, job: str) -> None:
    """Delete a job with all that only it needs.

    Raises NotFoundError, or InUseError when the job, or a job that needs it, has not ended.
    """
    adopt_jobs(store)
    store.machine.delete(job)


def empty_jobs_of(store: Store, dataset_id: str) -> None:
    """Give up all that the jobs of a dataset computed; their records stay. Raises InUseError when one has not ended."""
    adopt_jobs(store)
    for job, facts in _jobs(store, "dataset_id", "emptied_at"):
        if facts["dataset_id"] == dataset_id and facts["emptied_at"] is None:
            store.machine.empty(job)


def expire_jobs(store: Store, *, days: float, now: float | None = None) -> list[str]:
    """Delete the jobs that ended more than `days` ago, except those that another needs; returns their ids."""
    adopt_jobs(store)
    before = (time.time() if now is None else now) - days * DAY
    deleted = []
    for job, facts in _jobs(store, "finished_at", created_before=before):
        if facts["finished_at"] is None or float(facts["finished_at"]) > before:
            continue
        try:
            store.machine.delete(job)
        except (InUseError, NotFoundError):
            continue  # Needed by another, retried, or deleted meanwhile.
        deleted.append(job)
    return deleted


def keep_dataset(store: Store, dataset_id: str, content_hash: str) -> bool:
    """Keep a content for a dataset; False while the same content is just being deleted: ask again in a moment."""
    return store.machine.keep(f"dataset:{dataset_id}", dataset_outputs(content_hash))


def drop_dataset(store: Store, dataset_id: str, content_hash: str) -> None:
    """Keep a content for a dataset no longer."""
    adopt_jobs(store)
    store.machine.drop(f"dataset:{dataset_id}", dataset_outputs(content_hash))


def keep_signals(store: Store, dataset_id: str, content_hash: str) -> bool:
    """Keep signals for a dataset; False while the same signals are just being deleted: ask again in a moment."""
    return store.machine.keep(f"dataset:{dataset_id}", [signals_blob(content_hash)])


def drop_signals(store: Store, dataset_id: str, content_hash: str) -> None:
    """Keep signals for a dataset no longer."""
    adopt_jobs(store)
    store.machine.drop(f"dataset:{dataset_id}", [signals_blob(content_hash)])


def discard_signals(store: Store, dataset_id: str, content_hash: str) -> None:
    """Keep signals no longer, neither for a dataset nor for selections by them."""
    adopt_jobs(store)
    store.machine.discard(f"dataset:{dataset_id}", [signals_blob(content_hash)])


def adopt_jobs(store: Store) -> None:
    """Count what jobs and datasets of older releases need: once per process, and before any deletion."""
    if store.adopted.is_set():
        return
    for job, facts in _jobs(store, "kind", "named"):
        if facts["named"] is None:
            stages = cast("list[bytes]", store.redis.lrange(f"{store.prefix}job:{job}:stages", 0, -1))
            store.machine.adopt(job, facts["kind"] or "", [_with_outputs(json.loads(stage)) for stage in stages])
    datasets = store.datasets.all()
    for dataset in datasets:
        keep_dataset(store, dataset.id, dataset.content_hash)
    there = {dataset.id for dataset in datasets}
    for signals in store.signals.all():
        if signals.dataset_id in there:
            keep_signals(store, signals.dataset_id, signals.content_hash)
    store.adopted.set()


def _with_outputs(stage: dict[str, object]) -> str:
    return json.dumps(stage | {"outputs": stage.get("outputs") or outputs_of(str(stage["group"]))})


def _jobs(
    store: Store, *names: str, created_before: float | str = "+inf", page: int = 1000
) -> Iterator[tuple[str, dict[str, str | None]]]:
    """All jobs, of every kind, with some of their fields."""
    for index in list(store.redis.scan_iter(f"{store.prefix}jobs:*", _type="zset")):
        ids = cast("list[bytes]", store.redis.zrangebyscore(index, "-inf", created_before))
        for start in range(0, len(ids), page):
            part = [member.decode() for member in ids[start : start + page]]
            pipe = store.redis.pipeline(transaction=False)
            for job in part:
                pipe.hmget(f"{store.prefix}job:{job}", names)
            for job, values in zip(part, pipe.execute(), strict=True):
                decoded = (None if value is None else value.decode() for value in values)
                yield job, dict(zip(names, decoded, strict=True))
