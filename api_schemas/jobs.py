"""Jobs: what selections, training jobs and evaluations have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minirec.api_schemas.common import Metadata, Response

Status = Literal["queued", "running", "succeeded", "failed", "cancelling", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


def id_pattern(prefix: str) -> str:
    """Return the regular expression of ids that begin with `prefix` and an underscore."""
    return rf"^{prefix}_[0-9a-z]{{1,40}}$"


class JobError(Response):
    """Why a job failed, for a program (`code`) and for a person (`message`)."""

    code: str
    """Stable, machine-readable name of the error."""
    message: str
    """What was wrong, where, and what to do."""
    retryable: bool = True
    """Whether a retry may help as things are; if not, it ends with the same error until its cause is mended."""
    stage: str | None = None
    """What the job did when it failed; null where that is unknown."""
    sample_ids: list[str] = []
    """The samples that the error is about, or whose shard could not be computed; the first 1,000 of them."""
    samples: int | None = None
    """How many samples the error is about, where they were counted."""


class Waiting(Response):
    """Where a job stands whose present stage no worker has in hand."""

    ahead: Annotated[
        int,
        Field(description="Stages of your other jobs that come first in the queue, or are being done", examples=[1]),
    ]
    workers: Annotated[int, Field(description="Workers that take from this queue; with 0 nothing moves", examples=[1])]
    starts_at: Annotated[
        float | None,
        Field(
            description="When those ahead will be through at their pace so far, in seconds since 1970; null where none "
            "has a pace yet",
            examples=[1795768970.0],
        ),
    ] = None


class Job(Response):
    """A job of any kind; each kind adds its request, its progress and its result."""

    id: str
    """Identifies the job."""
    object: str
    """The kind of job."""
    status: Status
    """`queued` and `running` go on to `succeeded` or `failed`; `cancelling` to `cancelled`."""
    stage: str | None = None
    """Of a running job: what it does now."""
    dataset_id: str
    """The dataset that it works on."""
    created_at: float
    """When it was asked for, in seconds since 1970."""
    started_at: float | None = None
    """When its first unit of work began, in seconds since 1970; null while it is queued."""
    finished_at: float | None = None
    """When it ended, in seconds since 1970; null before."""
    error: JobError | None = None
    """Why it failed; null unless `status` is `failed`."""
    stage_finish: float | None = None
    """Of a running job: when its present stage will be through at its pace so far, in seconds since 1970."""
    waiting: Waiting | None = None
    """Of one job that is asked for by its id, while nobody works on it: its place in the queue."""
    shared_with: list[str] = []
    """Of one job that is asked for by its id: other jobs that wait for the same work, which is done once for all."""
    worker_seconds: float = 0.0
    """What workers have spent so far on shards that it waited for; shared work counts for each of its jobs."""
    lost_workers: int = 0
    """How many workers were lost while they worked on it; what they held was, or is, done by others."""
    provenance: dict[str, Any] = {}
    """Resolved model revision, dataset content hash, fingerprints, versions."""
    metadata: Metadata = {}
    """Key-value pairs that came with the request."""
