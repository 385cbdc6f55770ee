"""Disk work beside the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(*args, **kwargs)`, called in a worker thread while the event loop keeps running.

    A cancelled task still finishes this step, so that a file is never closed while a thread uses it.
    The synchronous client calls the function itself: scripts/unasync.py deletes `await in_thread`.
    """
    with anyio.CancelScope(shield=True):
        result = await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
    return result
