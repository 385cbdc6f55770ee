"""One claimed unit while it is being done: progress out, stop signals in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any, Literal, Self

import structlog
from redis.exceptions import RedisError

from minirec.api_schemas import EventType
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.machine import Claim
from minirec.worker.watchdog import PULSE

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0
"""How long a unit that is to be left may go on; then its process ends, and another takes its place."""
EXIT_STATUS = 75


class Interrupted(Exception):
    """Stop now: the claim was lost, nobody wants the unit, or the worker shuts down."""

    def __init__(self, reason: Literal["stale", "abandoned", "stopping"]) -> None:
        super().__init__(reason)
        self.reason = reason


class UnitError(Exception):
    """A unit cannot be done, for a reason worth a code of its own."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        sample_ids: Sequence[str] = (),
        samples: int | None = None,
    ) -> None:
        """Name what is wrong.

        Args:
            code: Stable, for programs.
            message: For people.
            retryable: Whether another attempt may help.
            sample_ids: The samples that it is about, as many as an error lists.
            samples: How many they are.
        """
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.sample_ids = list(sample_ids)
        self.samples = samples


class Work(AbstractContextManager["Work"]):
    """Holds a claim: a heartbeat thread renews its lease until the block is left."""

    def __init__(
        self, claim: Claim, store: Store, settings: Settings, stopping: Event, *, time_limit: float | None = None
    ) -> None:
        self.claim = claim
        self.store = store
        self.settings = settings
        self.done = 0
        self.sample_ids: list[str] = []
        self._stopping = stopping
        self._verdict: Literal["ok", "stale", "abandoned"] = "ok"
        self._renewing = threading.Lock()
        self._left = threading.Event()
        self._time_limit = time_limit
        self._begun = time.monotonic()
        self._abandoned_at: float | None = None
        self._pulse = threading.Thread(target=PULSE.beat, args=(self._left,), name="pulse", daemon=True)
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{claim.fence}", daemon=True)

    def __enter__(self) -> Self:
        self._pulse.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()
        self._pulse.join()

    def record_samples(self, sample_ids: Sequence[str]) -> None:
        """Record the ids of the samples in hand: if this worker dies of them, the job's error lists them."""
        self.sample_ids = list(sample_ids)
        self._renew(sample_ids=self.sample_ids)
        self.check()

    def progress(self, done: int, *, cached: int = 0) -> None:
        """Report samples, items or updates done so far. Raises Interrupted when the unit should be left."""
        self.done = done
        self._renew(progress=done, cached=cached or None)
        self.check()

    def report_event(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Add an event to the jobs that wait for this unit."""
        self.store.machine.tell(self.claim, kind, data)

    def check(self) -> None:
        """Raise Interrupted when the unit should be left."""
        if self._verdict != "ok":
            raise Interrupted(self._verdict)
        if self._stopping.is_set():
            raise Interrupted("stopping")

    def _renew(self, **report: Any) -> None:
        """Renew the lease. A claim that was lost stays lost; a unit that nobody wants may be wanted again."""
        with self._renewing:
            if self._verdict != "stale":
                self._verdict = self.store.machine.renew(self.claim, lease=self.settings.lease_seconds, **report)

    def _beat(self) -> None:
        while self._verdict != "stale" and not self._left.wait(self.settings.lease_seconds / 4):
            try:
                self._renew()
            except RedisError as error:
                # The lease may run out meanwhile; the fence then keeps this worker's commit out.
                log.warning("heartbeat_failed", error=str(error))
            if self._time_limit is not None and time.monotonic() - self._begun > self._time_limit:
                self._report_timeout()
                break
            # Who is abandoned may be wanted again meanwhile.
            self._abandoned_at = (self._abandoned_at or time.monotonic()) if self._verdict == "abandoned" else None
            if self._abandoned_at is not None and time.monotonic() - self._abandoned_at > GRACE_SECONDS:
                self._end_process()
        if not self._left.is_set() and not self._left.wait(GRACE_SECONDS):
            self._end_process()

    def _report_timeout(self) -> None:
        message = f"the shard took more than {self._time_limit:.0f} s (MINIREC_UNIT_TIME_LIMIT)"
        detail: dict[str, Any] = {"code": "shard_timeout", "message": message, "retryable": True}
        if self.sample_ids:
            detail["sample_ids"] = self.sample_ids
        with suppress(RedisError):
            self.store.machine.fail(self.claim, detail, retryable=True, max_attempts=self.settings.max_attempts)
        with self._renewing:
            self._verdict = "stale"

    def _end_process(self) -> None:
        """End a process that is to leave its unit and does not: another one takes its place."""
        log.error("worker_ended", reason=f"{self._verdict} {GRACE_SECONDS:.0f} s ago, and the shard still computes")
        with suppress(RedisError):
            self.store.machine.release(self.claim)
        os._exit(EXIT_STATUS)
