"""Ends a child that hangs: what computes may hold the interpreter for ever, and then hears of nothing.

A thread of the child writes down every second that it runs, as long as it holds a claim. Its parent, which computes
nothing, looks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress

import structlog

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
LEASES = 3.0
"""A child that was silent for so many leases holds a claim that is lost long since: it is ended, and replaced."""


class Pulse:
    """When the child that holds a claim last showed that it lives; shared between it and its parent."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pid = context.Value("q", 0, lock=False)
        self._at = context.Value("d", 0.0, lock=False)

    def beat(self, left: threading.Event) -> None:
        """Say every second that this process lives, until it has left its claim."""
        self._at.value, self._pid.value = time.monotonic(), os.getpid()
        while not left.wait(BEAT_SECONDS):
            self._at.value = time.monotonic()
        self.rest()

    def rest(self) -> None:
        """Say that nobody holds a claim."""
        self._pid.value = 0

    def silent(self, seconds: float) -> int:
        """Return the process that holds a claim and was silent for longer; 0 if there is none."""
        return int(self._pid.value) if time.monotonic() - self._at.value > seconds else 0


PULSE = Pulse()
"""Made in the parent, before it forks."""


def watch(pulse: Pulse, *, seconds: float) -> None:
    """Kill the child of this process when it is silent for longer, in a thread that ends with the process."""

    def look() -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            if pid := pulse.silent(seconds):
                log.error("worker_hangs", pid=pid, silent_seconds=seconds)
                pulse.rest()
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    threading.Thread(target=look, name="watchdog", daemon=True).start()
