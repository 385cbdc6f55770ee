"""Long work on uploads in a separate process: in a thread it would keep all other requests waiting for the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

APART_BYTES = 4 << 20
"""Smaller uploads are checked sooner than a process starts."""


def run_apart(files: Iterable[Path], work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what `work` returns, or raise what it raises; in another process if the files are large.

    Work, arguments and result go there and back by pickle: `work` is a function of a module.
    """
    if sum(path.stat().st_size for path in files) < APART_BYTES:
        return work(*args, **kwargs)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()
