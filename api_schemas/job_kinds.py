"""The kinds of jobs: what the service, the client and the command derive paths, ids and lookups from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from minirec.api_schemas.common import Request
from minirec.api_schemas.evaluations import Evaluation, EvaluationCreate
from minirec.api_schemas.jobs import Job, id_pattern
from minirec.api_schemas.selections import Selection, SelectionCreate
from minirec.api_schemas.training_jobs import TrainingJob, TrainingJobCreate

RequestT = TypeVar("RequestT", bound=Request)
JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True)
class JobKind(Generic[RequestT, JobT]):
    """A kind of job."""

    prefix: str
    """What its ids begin with, before the underscore."""
    request: type[RequestT]
    """Body of the request that starts one."""
    resource: type[JobT]
    progress: frozenset[str]
    """Fields of the resource that change while a job advances, beside `status`, `stage` and `waiting`."""

    @property
    def name(self) -> str:
        """The kind as resources (`object`), problem codes and the store call it: `training_job`."""
        return str(self.resource.model_fields["object"].default)

    @property
    def title(self) -> str:
        """The name as people read it: `training job`."""
        return self.name.replace("_", " ")

    @property
    def path(self) -> str:
        """The path of its collection: `/v1/training_jobs`."""
        return f"/v1/{self.name}s"

    @property
    def id_pattern(self) -> str:
        """Regular expression of its ids."""
        return id_pattern(self.prefix)

    def progress_of(self, job: JobT) -> dict[str, Any]:
        """Return what changes while a job advances: two results differ when there is news."""
        # When it starts is an estimate that is never the same twice.
        place = {"waiting": {"ahead", "workers"}}
        return job.model_dump(include={"status": True, "stage": True, **place, **dict.fromkeys(self.progress, True)})


SELECTION = JobKind("sel", SelectionCreate, Selection, frozenset({"counts"}))
TRAINING_JOB = JobKind("trn", TrainingJobCreate, TrainingJob, frozenset({"updates_done", "updates_total"}))
EVALUATION = JobKind("evl", EvaluationCreate, Evaluation, frozenset({"samples_done", "samples_total"}))

JOB_KINDS: tuple[JobKind[Any, Any], ...] = (SELECTION, TRAINING_JOB, EVALUATION)


def kind_of(job_id: str) -> JobKind[Any, Any]:
    """Return the kind that a job's id names. Raises ValueError for an id of no kind."""
    prefix = job_id.partition("_")[0]
    for kind in JOB_KINDS:
        if kind.prefix == prefix:
            return kind
    known = ", ".join(f"{kind.prefix}_... ({kind.title})" for kind in JOB_KINDS)
    raise ValueError(f"{job_id!r} is not the id of a job; ids of jobs begin with {known}")
