"""Events of a job, in order; the data of each server-sent event."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator

from minirec.api_schemas.common import Page, Response
from minirec.api_schemas.jobs import JobError, Status

EventType = Literal["status", "stage", "progress", "metrics", "evaluation", "warning", "retry", "error"]


class Happened(Response):
    """What events of all types have."""

    id: str
    """Grows with time; send it as `Last-Event-ID` to resume from here."""
    job_id: str
    """The job that it happened to."""
    at: float
    """When, in seconds since 1970."""


class Event(Happened):
    """Something that happened to a job; `TypedEvent` says what `data` has for each type."""

    type: EventType
    """What kind of thing happened; `data` differs by it."""
    data: dict[str, Any] = {}
    """What happened, by name."""


class StatusData(Response):
    """Data of a `status` event."""

    status: Status
    """The job's status from now on."""


class StageData(Response):
    """Data of a `stage` event."""

    stage: str
    """The stage that begins."""
    total: int
    """All that the stage has to do, in samples, items or updates."""


class ProgressData(Response):
    """Data of a `progress` event."""

    stage: str
    """The stage that has come further."""
    done: int
    """What is done of `total`, cached parts included."""
    total: int
    """All that the stage has to do, in samples, items or updates."""
    cached: int
    """Of `done`, what others had already paid for."""


class MetricsData(Response):
    """Data of a `metrics` event: one update of a training."""

    stage: str
    """`training`, or `training_proxy` of a selection."""
    update: int
    """1-based number of the update."""
    epoch: float | None = None
    """Passes over the samples so far; left out for a proxy."""
    loss: float
    """Loss of the update."""
    reward_mean: float
    """Mean reward of its rollouts."""
    hit_rate: float | None = None
    """Share of its rollouts that hit; left out where rewards know no hit."""
    ndcg10: float | None = None
    """Mean NDCG@10 of its rollouts; left out for text."""
    tokens_per_second: float
    """Tokens sampled and trained on, per second."""
    seconds: float
    """How long the update took."""


class EvaluationData(Response):
    """Data of an `evaluation` event: a ranking (`ndcg10`, `hr10`), or rewards of text (`reward_mean`, `pass_rate`)."""

    split: str
    """The split that was evaluated."""
    update: int
    """Updates made before; 0 is the model as it was."""
    ndcg10: float | None = None
    """NDCG@10, a mean over samples."""
    hr10: float | None = None
    """HR@10, a mean over samples."""
    reward_mean: float | None = None
    """Mean reward of the answers."""
    pass_rate: float | None = None
    """Share of the answers that earn something."""


class WarningData(Response):
    """Data of a `warning` event."""

    message: str
    """What looked odd, in a sentence."""


class RetryData(Response):
    """Data of a `retry` event: a unit of work ended without a result, and is tried again."""

    shard: int
    """0-based number of the unit in its stage."""
    attempt: int
    """1-based number of the attempt that ended."""
    reason: str
    """Why it ended."""
    code: str
    """The same for a program, as in `JobError`."""
    stage: str | None = None
    """The stage that it belongs to."""
    setbacks: int | None = None
    """How often in a row an attempt came no further; left out for lost workers."""
    pause_seconds: float | None = None
    """How long the next attempt waits; left out for lost workers."""


class StatusEvent(Happened):
    """The job has another status."""

    type: Literal["status"]
    """Always `status`."""
    data: StatusData
    """The status."""


class StageEvent(Happened):
    """The job begins another stage."""

    type: Literal["stage"]
    """Always `stage`."""
    data: StageData
    """The stage."""


class ProgressEvent(Happened):
    """The stage has come further."""

    type: Literal["progress"]
    """Always `progress`."""
    data: ProgressData
    """How far."""


class MetricsEvent(Happened):
    """A training has made an update."""

    type: Literal["metrics"]
    """Always `metrics`."""
    data: MetricsData
    """The update's numbers."""


class EvaluationEvent(Happened):
    """A policy was evaluated on held-out samples."""

    type: Literal["evaluation"]
    """Always `evaluation`."""
    data: EvaluationData
    """What was measured."""


class WarningEvent(Happened):
    """Something looks odd and is no fault."""

    type: Literal["warning"]
    """Always `warning`."""
    data: WarningData
    """What looks odd."""


class RetryEvent(Happened):
    """A unit of work is tried again."""

    type: Literal["retry"]
    """Always `retry`."""
    data: RetryData
    """Why, and which."""


class ErrorEvent(Happened):
    """The job has failed; a `status` event follows."""

    type: Literal["error"]
    """Always `error`."""
    data: JobError
    """Why, as in the job's `error`."""


TypedEvent = Annotated[
    StatusEvent | StageEvent | ProgressEvent | MetricsEvent | EvaluationEvent | WarningEvent | RetryEvent | ErrorEvent,
    Discriminator("type"),
]
"""An event with its data typed. A service may send types that an older client does not know: `Event` takes those."""


class EventPage(Page[TypedEvent]):
    """One page of events, oldest first."""
