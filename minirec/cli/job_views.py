"""How jobs of each kind are shown: one entry per kind, from which the commands for all kinds follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic

from rich.table import Table

from minirec.api_schemas import EVALUATION, SELECTION, TRAINING_JOB, Job, kind_of
from minirec.api_schemas.job_kinds import JobT
from minirec.cli import evaluations, selections, training
from minirec.cli.follow import follow as follow_selection
from minirec.cli.output import ago, selection_table, short_state, table
from minirec.cli.training_view import follow_training, training_table
from minirec.client import MiniRec


@dataclass(frozen=True)
class JobView(Generic[JobT]):
    """How jobs of one kind are shown."""

    follow: Callable[[MiniRec, str], JobT]
    """Show a job's progress until it is over."""
    show: Callable[[JobT, bool], None]
    """Print a job, as JSON or for people."""
    table: Callable[[Iterable[JobT]], Table]


VIEWS: dict[str, JobView[Any]] = {
    SELECTION.name: JobView(follow_selection, selections.show, selection_table),
    TRAINING_JOB.name: JobView(follow_training, training.show, training_table),
    EVALUATION.name: JobView(evaluations.follow_evaluation, evaluations.show, evaluations.evaluation_table),
}
"""By name of the kind."""


def view_of(job_id: str) -> JobView[Any]:
    """Return how a job is shown, by its id. Raises ValueError for an id of no kind."""
    return VIEWS[kind_of(job_id).name]


def mixed_table(jobs: Iterable[Job]) -> Table:
    """Build a table of jobs of several kinds, one a line."""
    rows = ((job.id, kind_of(job.id).title, short_state(job), ago(job.created_at)) for job in jobs)
    return table(("id", "kind", "status", "created"), rows)
