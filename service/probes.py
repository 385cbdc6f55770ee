"""Checks that are asked for often and must not cost anything each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

WAIT_SECONDS = 5.0
"""How long a caller waits for the check of another."""


class Throttled:
    """A check that runs at most every few seconds; in between, its last outcome is the answer."""

    def __init__(self, check: Callable[[], object], *, seconds: float) -> None:
        self._check = check
        self._seconds = seconds
        self._lock = threading.Lock()
        self._until = 0.0
        self._error: Exception | None = None

    def __call__(self) -> None:
        """Return if all is well; raise what the check raised. Raises TimeoutError while one takes too long."""
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise TimeoutError(f"the check has not ended within {WAIT_SECONDS:.0f} seconds")
        try:
            if time.monotonic() >= self._until:
                self._error = self._outcome()
                self._until = time.monotonic() + self._seconds
            if self._error is not None:
                raise self._error
        finally:
            self._lock.release()

    def _outcome(self) -> Exception | None:
        try:
            self._check()
        except Exception as error:
            return error
        return None
