"""Holding on to something that ends soon after its holder does: it is renewed while the holder lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

log = logging.getLogger(__name__)


@contextmanager
def renewed(renew: Callable[[], object], *, every: float) -> Iterator[None]:
    """Call `renew` every few seconds, in a thread, until the block is left."""
    left = threading.Event()

    def keep() -> None:
        while not left.wait(every):
            try:
                renew()
            except RedisError as error:
                log.warning("what is held was not renewed: %s", error)

    thread = threading.Thread(target=keep, name="renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
