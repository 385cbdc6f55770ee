"""From doorbell to commit: claim, do, and leave the unit in a state that the next worker can resume from."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import OutOfMemoryError, RedisError

from minirec import __version__, tracing
from minirec.data.faults import DatasetError
from minirec.policy.errors import EngineUnreachable, InvalidSampleError
from minirec.policy.reference import ModelRefused
from minirec.rewards import RewardError, UnknownRewardError
from minirec.selection import EmptySelectionError, RowError
from minirec.settings import Settings, settings
from minirec.specs import (
    CatalogueSpec,
    CheckSpec,
    EvaluateSpec,
    FinishEvaluation,
    FinishTraining,
    IngestSpec,
    PlanSelection,
    PrepareEvaluation,
    PrepareSelection,
    PrepareTraining,
    ProxySpec,
    ScoreSpec,
    SelectSpec,
    SpecRefused,
    TrainSpec,
    UnitSpec,
)
from minirec.store import Store, connect
from minirec.store.counters import SAMPLES, UNIT_SECONDS, UNITS
from minirec.store.errors import LostError, StoreError, is_storage_fault, is_storage_full
from minirec.store.machine import Claim, Doorbell, Outcome
from minirec.store.recovery import reopen_lost
from minirec.worker.presence import PRESENCE, process_name
from minirec.worker.work import Interrupted, UnitError, Work

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = structlog.get_logger(__name__)

HANDLERS: dict[str, tuple[str, type[UnitSpec]]] = {
    spec.HANDLER: (module, spec)
    for module, spec in (
        ("minirec.worker.ingest", IngestSpec),
        ("minirec.worker.prepare", PrepareSelection),
        ("minirec.worker.check_pool", CheckSpec),
        ("minirec.worker.planning", PlanSelection),
        ("minirec.worker.proxy", ProxySpec),
        ("minirec.worker.catalogue", CatalogueSpec),
        ("minirec.worker.score", ScoreSpec),
        ("minirec.worker.select", SelectSpec),
        ("minirec.worker.training_plan", PrepareTraining),
        ("minirec.worker.train", TrainSpec),
        ("minirec.worker.evaluate", EvaluateSpec),
        ("minirec.worker.finish_training", FinishTraining),
        ("minirec.worker.evaluation_plan", PrepareEvaluation),
        ("minirec.worker.finish_evaluation", FinishEvaluation),
    )
}
"""Module and spec of each handler; its `run(work, spec)` does a unit. Imported when first needed: they bring torch."""

FINAL: dict[type[Exception], str] = {
    EmptySelectionError: "empty_selection",
    InvalidSampleError: "invalid_sample",
    RewardError: "reward_failed",
    RowError: "invalid_signals",
    SpecRefused: "unknown_spec_version",
    UnknownRewardError: "unknown_reward",
}
"""Code of each error that another attempt would end with, too."""


class Runner:
    """Does units on behalf of one process."""

    def __init__(self, store: Store, config: Settings, stopping: Event) -> None:
        self._store = store
        self._settings = config
        self._stopping = stopping
        self._name = process_name()

    @staticmethod
    @lru_cache(maxsize=1)
    def of_this_process(stopping: Event) -> Runner:
        """The process's one runner, connected at first use: a connection must not cross a fork."""
        return Runner(connect(settings()), settings(), stopping)

    def run(self, bell: Doorbell) -> str:
        """Claim and do a unit, the one that was rung for or another tenant's of the same queue.

        Returns:
            `committed`, `skipped`, `failed`, `reopened` (what it needs was lost, and is made again), or the reason why
            it was left: `stale`, `abandoned`, `stopping`.
        """
        claim = self._store.machine.claim_next(bell, worker=self._name, lease=self._settings.lease_seconds)
        if claim is None:
            return "skipped"
        time_limit = None if bell.queue == "train" else self._settings.unit_time_limit
        work = Work(claim, self._store, self._settings, self._stopping, time_limit=time_limit)
        bound = structlog.contextvars.bound_contextvars(
            group=claim.group, unit=claim.unit, fence=claim.fence, attempt=claim.attempt, handler=claim.handler
        )
        with bound, PRESENCE.doing(claim.handler), self._traced(work) as span:
            begun = time.monotonic()
            outcome = self._do(work)
            self._count(work, outcome, seconds=time.monotonic() - begun)
            if span is not None:
                span.set_attributes({"minirec.outcome": outcome, "minirec.samples": work.done})
                if outcome == "failed":
                    tracing.fail(span, outcome)
        return outcome

    def _traced(self, work: Work) -> AbstractContextManager[Span | None]:
        """Return a span of the unit, within the traces of the requests that asked for the jobs which wait for it."""
        claim = work.claim
        about: dict[str, str | int] = {"group": claim.group, "unit": claim.unit, "handler": claim.handler}
        about |= {"fence": claim.fence, "attempt": claim.attempt}
        return tracing.span(
            f"unit {claim.handler}",
            "consumer",
            parents=self._store.jobs.traceparents(claim.group) if tracing.is_on() else [],
            attributes={f"minirec.{name}": value for name, value in about.items()},
        )

    def _count(self, work: Work, outcome: str, *, seconds: float) -> None:
        handler = work.claim.handler if work.claim.handler in HANDLERS else "unknown"
        amounts: dict[tuple[str, ...], float] = {(UNITS, handler, outcome): 1, (UNIT_SECONDS, handler): seconds}
        if outcome == "committed" and work.done:
            amounts[SAMPLES, handler] = work.done
        try:
            self._store.counters.add(amounts)
        except RedisError as error:
            log.info("unit_not_counted", error=str(error))

    def _do(self, work: Work) -> str:
        claim = work.claim
        try:
            with work:
                outcome = _handle(work)
        except Interrupted as interruption:
            if interruption.reason != "stale":
                self._store.machine.release(claim)
            log.info("unit_left", reason=interruption.reason)
            return interruption.reason
        except LostError as error:
            if (answer := reopen_lost(self._store, claim, error)) in ("ok", "stale"):
                log.warning("outputs_lost", lost=error.lost, answer=answer)
                return "reopened" if answer == "ok" else "stale"
            return self._fail(claim, work, error, final=answer == "again")
        except Exception as error:
            if (detail := setback(error)) is not None:
                return self._set_back(claim, detail, error)
            return self._fail(claim, work, error)
        committed = self._store.machine.commit(claim, progress=work.done, outcome=outcome)
        log.info("unit_committed" if committed else "unit_stale", done=work.done)
        return "committed" if committed else "stale"

    def _set_back(self, claim: Claim, detail: dict[str, Any], error: Exception) -> str:
        """Give a unit up for a while: storage fails, and the unit is not to blame."""
        log.warning("unit_set_back", code=detail["code"], exc_info=error)
        self._store.machine.set_back(claim, detail, max_setbacks=self._settings.max_setbacks)
        return "failed"

    def _fail(self, claim: Claim, work: Work, error: Exception, *, final: bool = False) -> str:
        detail, retryable = describe(error)
        # What a worker gives up, such as making what was lost again once more, may still be worth a retry of the job.
        detail["retryable"] = retryable
        retryable = retryable and not final
        if work.sample_ids and "sample_ids" not in detail:
            detail["sample_ids"] = work.sample_ids
        if isinstance(error, DatasetError):  # A client's fault, and its words hold a client's data.
            log.info("files_refused", faults=error.total)
        else:
            log.error("unit_failed", code=detail["code"], retryable=retryable, exc_info=error)
        self._store.machine.fail(claim, detail, retryable=retryable, max_attempts=self._settings.max_attempts)
        return "failed"


def _handle(work: Work) -> Outcome:
    """Read the unit's spec and do the unit. Raises what its handler raises, and SpecRefused."""
    if work.claim.handler not in HANDLERS:
        release = work.claim.spec.get("release")
        planner = f"MiniRec {release}" if release else "another release"
        raise SpecRefused(
            f"there is no handler {work.claim.handler!r} in MiniRec {__version__}; the job was planned by {planner}: "
            "start it anew"
        )
    module, kind = HANDLERS[work.claim.handler]
    run: Callable[[Work, UnitSpec], Outcome] = import_module(module).run
    return run(work, kind.read(work.claim.spec))


def setback(error: Exception) -> dict[str, Any] | None:
    """Return what to say of an error that lies in the storage and may pass; None for one of the unit's own."""
    if isinstance(error, OutOfMemoryError):
        return {"code": "storage_full", "message": "Redis has reached its memory limit (maxmemory)"}
    if is_storage_full(error):
        return {
            "code": "storage_full",
            "message": f"there is no room left for files on {socket.gethostname()}: {error}",
        }
    if isinstance(error, RedisError):
        return {"code": "storage_unavailable", "message": f"Redis did not do its work: {error}"}
    if is_storage_fault(error):
        return {"code": "storage_unavailable", "message": f"files cannot be stored or read: {error}"}
    return None


def describe(error: Exception) -> tuple[dict[str, Any], bool]:
    """An error for the job's record, and whether another attempt may help."""
    if isinstance(error, UnitError):
        about = {"sample_ids": error.sample_ids, "samples": error.samples} if error.sample_ids else {}
        return {"code": error.code, "message": str(error)} | about, error.retryable
    if isinstance(error, DatasetError):
        # As text: the state machine would make an empty list of it an object.
        faults = json.dumps([fault.model_dump() for fault in error.errors])
        return {"code": "invalid_dataset", "message": str(error), "faults": faults, "total": error.total}, False
    if isinstance(error, ModelRefused):
        return {"code": error.code, "message": str(error)}, False
    if isinstance(error, EngineUnreachable):
        return {"code": "engine_unreachable", "message": str(error)}, True
    for kind, code in FINAL.items():
        if isinstance(error, kind):
            about = (
                {"sample_ids": error.sample_ids} if isinstance(error, InvalidSampleError) and error.sample_ids else {}
            )
            return {"code": code, "message": str(error)} | about, False
    if isinstance(error, StoreError):
        return {"code": "storage_error", "message": str(error)}, True
    return {"code": "internal_error", "message": f"{type(error).__name__}: {error}"}, True
