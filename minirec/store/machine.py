"""The one place where jobs, groups and units change state: a thin, typed face of `machine.lua`.

A *job* is a list of *stages*; a stage is a *group* of *units* with content-addressed outputs, shared by every
job that needs them. A Celery message is only a doorbell; what is true is here (docs/architecture.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

import redis

from minirec.store.errors import InUseError, NotFoundError
from minirec.store.names import outputs_of, prefixes_of


class Doorbell(NamedTuple):
    """Says that a unit is waiting; losing one, or hearing it twice, does no harm."""

    queue: str
    group: str
    unit: int


Ring = Callable[[Sequence[Doorbell]], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of a job: the group of units that must be complete before the next step."""

    name: str
    group: str
    queue: Literal["cpu", "gpu", "train"]
    handler: str
    units: int
    total: int
    """What the units hold together, in samples or items: the denominator of progress."""
    spec: str
    """JSON that the handler reads; the first job to open the group decides it."""
    outputs: tuple[str, ...] = ()
    """Everything that the group's units write: blob names and prefixes (`scorings/x/`, ending in a slash), and columns
    (`columns:scores:x`). They are deleted when no job names the group any more."""

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"outputs": self.outputs or outputs_of(self.group)})


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do one unit, for as long as its lease is renewed and its fence is current."""

    group: str
    unit: int
    fence: str
    attempt: int
    handler: str
    spec: dict[str, Any]
    units: int
    total: int


@dataclass(slots=True)
class Outcome:
    """What a finished unit leaves behind, written together with its commit or not at all."""

    job: dict[str, str] = field(default_factory=dict)
    """Fields for the jobs that wait."""
    stages: list[Stage] = field(default_factory=list)
    """Stages appended to the jobs that wait."""
    warnings: list[str] = field(default_factory=list)
    writes: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Hash fields (key, field, value) below the store's prefix."""
    outputs: list[str] = field(default_factory=list)
    """Blobs that the unit has written and that its stage could not announce, since their names were not known yet."""


class Machine:
    """Moves jobs and units, atomically, and rings the doorbells of units that want doing."""

    def __init__(self, connection: redis.Redis, *, prefix: str, ring: Ring) -> None:
        self._redis = connection
        self._prefix = prefix
        self._ring = ring
        self._script = connection.register_script(files("minirec.store").joinpath("machine.lua").read_text())

    def _call(self, op: str, *args: str | bytes | int | float) -> Any:
        answer, rings = self._script(keys=[self._prefix], args=[op, *args])
        if rings:
            self._ring([Doorbell(queue.decode(), group.decode(), int(unit)) for queue, group, unit in rings])
        return answer.decode() if isinstance(answer, bytes) else answer

    def create(
        self, job: str, kind: str, fields: Mapping[str, str], stages: Iterable[Stage], *, needs: Iterable[str] = ()
    ) -> bool:
        """Record a job as queued and open its first stage; False if the id is taken.

        Args:
            job: Id of the job.
            kind: Name of its kind.
            fields: What the record holds besides its state.
            stages: The stages, in their order.
            needs: Ids of the jobs that cannot be deleted before this one has ended.
        """
        encoded = json.dumps([stage.to_json() for stage in stages])
        about = dict(fields) | {"needs": json.dumps(list(needs))}
        return cast(str, self._call("create", job, kind, json.dumps(about), encoded)) == "ok"

    def claim(self, group: str, unit: int, *, worker: str, lease: float) -> Claim | None:
        """Take a unit, or None: done, held by another, or wanted by nobody."""
        answer = self._call("claim", group, unit, worker, lease)
        if answer[0] != b"ok":
            return None
        fence, attempt, handler, spec, units, total = (part.decode() for part in answer[1:])
        return Claim(group, unit, fence, int(attempt), handler, json.loads(spec), int(units), int(total))

    def claim_next(self, bell: Doorbell, *, worker: str, lease: float) -> Claim | None:
        """Take a unit of the doorbell's queue, or None where none is waiting.

        Tenants take turns. The unit is the one that was rung for, unless another tenant has waited longer, or it is
        being done already.
        """
        answer = self._call("next", bell.queue, bell.group, bell.unit, worker, lease)
        if answer[0] != b"ok":
            return None
        group, unit, fence, attempt, handler, spec, units, total = (part.decode() for part in answer[1:])
        return Claim(group, int(unit), fence, int(attempt), handler, json.loads(spec), int(units), int(total))

    def renew(
        self,
        claim: Claim,
        *,
        lease: float,
        progress: int | None = None,
        cached: int | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> Literal["ok", "stale", "abandoned"]:
        """Keep a claim, and report how far the work is.

        Args:
            claim: As `claim` returned it.
            lease: Seconds from now until the unit is given to another worker.
            progress: Samples, items or updates done so far; None leaves the count as it is.
            cached: How many more of them were there from earlier work; None leaves the count as it is.
            sample_ids: Ids of the samples that are computed now.

        Returns:
            `ok`; `stale` if the claim was lost to another worker; `abandoned` if no job wants the unit any more.
        """
        values = ("" if value is None else value for value in (progress, cached))
        about = "" if sample_ids is None else json.dumps(list(sample_ids))
        answer = self._call("renew", claim.group, claim.unit, claim.fence, lease, *values, about)
        return cast(Literal["ok", "stale", "abandoned"], answer)

    def tell(self, claim: Claim, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event to every job that waits for the unit; nothing if the claim was lost."""
        self._call("tell", claim.group, claim.unit, claim.fence, kind, json.dumps(dict(data)))

    def commit(self, claim: Claim, *, progress: int, outcome: Outcome | None = None) -> bool:
        """Finish a unit; False (and nothing written) when the claim's fence is no longer current."""
        outcome = outcome or Outcome()
        about = {
            "job": outcome.job,
            "stages": [stage.to_json() for stage in outcome.stages],
            "warnings": outcome.warnings,
            "outputs": outcome.outputs,
        }
        flat = [part for write in outcome.writes for part in write]
        args = (claim.group, claim.unit, claim.fence, progress, json.dumps(about), *flat)
        return cast(str, self._call("commit", *args)) == "ok"

    def fail(self, claim: Claim, error: Mapping[str, Any], *, retryable: bool, max_attempts: int) -> bool:
        """Give a unit up: for another attempt, or, not retryable or attempts used up, failing its jobs."""
        args = (claim.group, claim.unit, claim.fence, json.dumps(dict(error)), int(retryable), max_attempts)
        return cast(str, self._call("fail", *args)) == "ok"

    def set_back(self, claim: Claim, error: Mapping[str, Any], *, max_setbacks: int) -> bool:
        """Give a unit up that is not to blame, for after a pause; fails its jobs after too many without progress."""
        args = (claim.group, claim.unit, claim.fence, json.dumps(dict(error)), max_setbacks)
        return cast(str, self._call("set_back", *args)) == "ok"

    def release(self, claim: Claim) -> bool:
        """Put a unit back unharmed: the attempt does not count."""
        return cast(str, self._call("release", claim.group, claim.unit, claim.fence)) == "ok"

    def reopen(
        self, claim: Claim, lost: Mapping[str, Sequence[int]], *, message: str, limit: int
    ) -> Literal["ok", "stale", "unknown", "own", "again"]:
        """Give a unit back, since what an earlier stage made is lost, and send its jobs back to that stage.

        Args:
            claim: The unit that found out.
            lost: Units to do again, of every group that may have made what is lost.
            message: A warning for the jobs.
            limit: How often a job may be sent back.

        Returns:
            `ok`; `stale` when the claim was lost; or why nothing was changed: no earlier stage of the jobs made it
            (`unknown`), the unit's own group did (`own`), or the jobs were sent back too often (`again`).
        """
        args = (claim.group, claim.unit, claim.fence, limit, message, json.dumps({k: list(v) for k, v in lost.items()}))
        return cast(Literal["ok", "stale", "unknown", "own", "again"], self._call("reopen", *args))

    def owners_of(self, blob: str) -> list[str]:
        """Return who keeps a blob, or the columns `columns:<name>`: `group:<name>` and `dataset:<id>`, sorted."""
        keys = [f"{self._prefix}output:{name}" for name in prefixes_of(blob)]
        return sorted(owner.decode() for owner in cast("set[bytes]", self._redis.sunion(keys)))

    def outputs(self, group: str) -> list[str]:
        """Return what the units of a group write."""
        found = cast("set[bytes]", self._redis.smembers(f"{self._prefix}group:{group}:outputs"))
        return sorted(name.decode() for name in found)

    def units(self, group: str) -> int:
        """Return how many units a group has; 0 if it is not there."""
        return int(cast("bytes | None", self._redis.hget(f"{self._prefix}group:{group}", "units")) or 0)

    def cancel(self, job: str) -> Literal["ok", "finished", "missing"]:
        """Cancel a job: at once if nothing of it runs, else as soon as its workers have stopped."""
        return cast(Literal["ok", "finished", "missing"], self._call("cancel", job))

    def retry(self, job: str) -> Literal["ok", "unfinished", "missing"]:
        """Queue a failed or cancelled job again at the stage where it stopped; finished units stay finished."""
        return cast(Literal["ok", "unfinished", "missing"], self._call("retry", job))

    def delete(self, job: str) -> None:
        """Forget a job, and the groups that no other names. Raises NotFoundError or InUseError."""
        self._end("delete", job)

    def empty(self, job: str) -> None:
        """Give up the groups that a job names; its record stays. Raises NotFoundError or InUseError."""
        self._end("empty", job)

    def _end(self, op: Literal["delete", "empty"], job: str) -> None:
        answer = self._call(op, job)
        if answer[0] == b"missing":
            raise NotFoundError(f"no job {job}")
        if answer[0] == b"in_use":
            raise InUseError(job, by=answer[1].decode())

    def adopt(self, job: str, kind: str, stages: Sequence[str]) -> None:
        """Count the groups of a job that an older release created; `stages` are its stages as JSON."""
        self._call("adopt", job, kind, json.dumps(list(stages)))

    def keep(self, owner: str, outputs: Iterable[str]) -> bool:
        """Keep blobs for an owner; False while one of them is just being deleted: ask again in a moment."""
        return cast(str, self._call("keep", owner, *outputs)) == "ok"

    def drop(self, owner: str, outputs: Iterable[str]) -> None:
        """Keep blobs no longer; those that nobody keeps become garbage."""
        self._call("drop", owner, *outputs)

    def discard(self, owner: str, outputs: Iterable[str]) -> None:
        """Keep blobs of a dataset no longer, for it or for groups; for another dataset that has them they stay."""
        self._call("discard", owner, *outputs)

    def take_garbage(self, *, limit: int) -> list[str]:
        """Names of blobs, and prefixes ending in a slash, to delete now; nobody writes there until `end_garbage`."""
        return [name.decode() for name in self._call("take_garbage", limit)]

    def end_garbage(self, name: str) -> None:
        """Note that a name of `take_garbage` is deleted."""
        self._call("end_garbage", name)

    def sweep(self, *, max_setbacks: int, ring_after: Mapping[str, float]) -> int:
        """Give back what expired, ring what was forgotten, close what was cancelled; returns expired leases."""
        flat = [part for queue, seconds in ring_after.items() for part in (queue, seconds)]
        return int(self._call("sweep", max_setbacks, *flat))
