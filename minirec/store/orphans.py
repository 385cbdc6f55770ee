"""What nobody needs and nothing will remove: leftovers of killed processes and of releases that deleted nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from minirec.store.checksums import SUFFIX
from minirec.store.names import prefixes_of
from minirec.store.retention import adopt_jobs

if TYPE_CHECKING:
    from minirec.store import Store

FRESH_SECONDS: Final = 3600.0
"""Blobs younger than this may be about to be noted down, and are left alone."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """What can be removed, with the bytes that it takes."""

    blobs: dict[str, int]
    """Names in the blob store."""
    keys: dict[str, int]
    """Keys in Redis, without the prefix."""


def find_orphans(store: Store, *, fresh_seconds: float = FRESH_SECONDS) -> Orphans:
    """Return what no job and no dataset needs. Changes nothing but to count what jobs of older releases need."""
    adopt_jobs(store)
    # What is there is listed first, and who needs it second: what is made meanwhile was announced before.
    blobs, keys = store.blobs.all_names(), _keys(store)
    needed = _needed(store)
    groups = {member.decode() for member in store.redis.smembers(f"{store.prefix}groups:unnamed")}  # type: ignore[union-attr]
    lost_blobs = {
        name: size
        for name, size in blobs.items()
        if needed.isdisjoint(prefixes_of(_base(name))) and store.blobs.age(name, time.time()) >= fresh_seconds
    }
    lost_keys = [key for key in keys if _is_orphan(store, key, needed, groups)]
    return Orphans(lost_blobs, {key: _bytes(store, key) for key in lost_keys})


def remove_orphans(store: Store, orphans: Orphans) -> None:
    """Remove what `find_orphans` found."""
    for name in orphans.blobs:
        store.blobs.delete(name)
    for key in orphans.keys:
        store.redis.unlink(f"{store.prefix}{key}")


def _keys(store: Store) -> list[str]:
    found = store.redis.scan_iter(f"{store.prefix}*", count=1000)
    return sorted({key.decode().removeprefix(store.prefix) for key in found})


def _needed(store: Store) -> set[str]:
    """Outputs that a dataset, or a group that a job names, keeps."""
    outputs = _with(_keys(store), "output:")
    return {output for output in outputs if _owners(store, output)}


def _owners(store: Store, output: str) -> list[str]:
    """Return those owners of an output that are still there."""
    found = store.redis.smembers(f"{store.prefix}output:{output}")
    return [owner for owner in (member.decode() for member in found) if _is_there(store, owner)]  # type: ignore[union-attr]


def _is_there(store: Store, owner: str) -> bool:
    kind, _, name = owner.partition(":")
    if kind == "dataset":
        return any(store.redis.hexists(f"{store.prefix}datasets{which}", name) for which in ("", ":unready"))
    if kind == "upload":
        return bool(store.redis.exists(f"{store.prefix}upload:{name}"))
    return bool(store.redis.exists(f"{store.prefix}group:{name}:jobs"))


def _is_orphan(store: Store, key: str, needed: set[str], unnamed: set[str]) -> bool:
    kind, _, name = key.partition(":")
    if kind == "job":
        return not store.redis.exists(f"{store.prefix}job:{name.split(':')[0]}")
    if kind == "group":
        group = _group_of(name)
        return group not in unnamed and not store.redis.exists(f"{store.prefix}group:{group}:jobs")
    if kind == "columns":
        return key not in needed
    return kind == "output" and name not in needed


GROUP_PARTS: Final = (":todo", ":leased", ":units", ":waiters", ":closing", ":jobs", ":outputs")


def _group_of(name: str) -> str:
    """The group that a key below `group:` belongs to."""
    for part in GROUP_PARTS:
        if name.endswith(part):
            return name.removesuffix(part)
    return name


def _base(name: str) -> str:
    """The blob that a checksum, or what a killed process left of it, belongs to."""
    if name.endswith(".partial"):
        # Never needed by anyone: it is either renamed or left over.
        return ""
    return name.removesuffix(SUFFIX)


def _with(keys: Iterable[str], prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]


def _bytes(store: Store, key: str) -> int:
    return int(store.redis.memory_usage(f"{store.prefix}{key}", samples=0) or 0)
