"""Deleting the blobs that nobody keeps any more, and telling every machine to drop its copies of them.

What to delete is on a list in Redis (`machine.lua`), and comes off it when it is deleted: a collector that dies costs
nothing but time. While a name is being deleted, nobody is given a unit that would write below it.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from redis.exceptions import LockError, RedisError

if TYPE_CHECKING:
    from minirec.store import Store

LOCK_SECONDS = 20.0
NAMES_AT_ONCE = 20
REMEMBERED_SECONDS = 7 * 24 * 3600
"""How long deletions are remembered for machines that were not there; copies that old and unused go by themselves."""
FORGET_SECONDS = 60.0
"""A machine drops its copies this long after their blobs were deleted, or when a process starts on it."""

log = logging.getLogger(__name__)


def collect_garbage(store: Store) -> int:
    """Delete what is on the list, and return how many names that were; 0 while another process does it."""
    lock = store.redis.lock(f"{store.prefix}lock:garbage", timeout=LOCK_SECONDS)
    if not lock.acquire(blocking=False):
        return 0
    deleted = 0
    try:
        while names := store.machine.take_garbage(limit=NAMES_AT_ONCE):
            for name in names:
                lock.reacquire()
                if name.endswith("/"):
                    store.blobs.delete_tree(name, on_batch=lock.reacquire)
                else:
                    store.blobs.delete(name)
                _remember(store, name)
                store.machine.end_garbage(name)
                deleted += 1
    finally:
        with suppress(LockError):  # It ran out meanwhile, and another process continues.
            lock.release()
    return deleted


def _remember(store: Store, name: str) -> None:
    if store.blobs.cache is None:
        return
    key, now = f"{store.prefix}deleted", time.time()
    pipe = store.redis.pipeline()
    pipe.zadd(key, {name: now})
    pipe.zremrangebyscore(key, "-inf", now - REMEMBERED_SECONDS)
    pipe.expire(key, REMEMBERED_SECONDS)
    pipe.execute()


class CacheKeeper:
    """Drops this machine's copies of deleted blobs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since = float("-inf")

    def keep(self) -> list[str]:
        """Drop the copies of what was deleted since the last call, and what was not used for long; returns names."""
        cache = self._store.blobs.cache
        if cache is None:
            return []
        found = cast(
            "list[tuple[bytes, float]]",
            self._store.redis.zrangebyscore(f"{self._store.prefix}deleted", self._since, "+inf", withscores=True),
        )
        for name, _ in found:
            cache.forget(name.decode())
        if found:
            # Clocks differ a little: deletions around the newest one are looked at again.
            self._since = found[-1][1] - FORGET_SECONDS
        cache.tidy()
        return [name.decode() for name, _ in found]

    def start(self) -> None:
        """Repeat every minute in a thread that ends with the process."""
        threading.Thread(target=self._run, name="cache-keeper", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.keep()
            except (RedisError, OSError) as error:
                log.warning("copies of deleted blobs were not looked for: %s", error)
            time.sleep(FORGET_SECONDS)
