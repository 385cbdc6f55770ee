"""Commands for jobs of either kind, selections and training jobs: status, list, cancel, retry."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from api_schemas import Status
from minirec.cli import selections, training
from minirec.cli.connection import Connection
from minirec.cli.follow import follow as follow_selection
from minirec.cli.options import AsJson, Follow, JobId, Limit
from minirec.cli.output import print_json, results, selection_table
from minirec.cli.training_view import follow_training, training_table
from minirec.client import MiniRec


def status(context: typer.Context, job_id: JobId, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show a selection or a training job; with --follow, until it is over."""
    connection: Connection = context.obj
    with connection.client() as client:
        show(client, job_id, follow=follow, as_json=as_json)


def list_jobs(
    context: typer.Context,
    training: Annotated[bool, typer.Option("--training", help="Training jobs instead of selections.")] = False,
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs on this dataset.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List selections, newest first; with --training, training jobs."""
    connection: Connection = context.obj
    with connection.client() as client:
        if training:
            jobs = list(islice(client.training_jobs.list(status=status, dataset=dataset), limit))
            print_json(jobs) if as_json else results.print(training_table(jobs))
        else:
            found = list(islice(client.selections.list(status=status, dataset=dataset), limit))
            print_json(found) if as_json else results.print(selection_table(found))


def cancel(context: typer.Context, job_id: JobId) -> None:
    """Stop a selection or a training job; what it has done is kept."""
    connection: Connection = context.obj
    with connection.client() as client:
        job = client.training_jobs.cancel(job_id) if is_training(job_id) else client.selections.cancel(job_id)
    results.print(f"{job.id} {job.status}")


def retry(context: typer.Context, job_id: JobId, follow: Follow = True, as_json: AsJson = False) -> None:
    """Go on with a failed or cancelled job from what is finished."""
    connection: Connection = context.obj
    with connection.client() as client:
        if is_training(job_id):
            client.training_jobs.retry(job_id)
        else:
            client.selections.retry(job_id)
        show(client, job_id, follow=follow, as_json=as_json)


def show(client: MiniRec, job_id: str, *, follow: bool, as_json: bool) -> None:
    """Print a job, at once or when it is over."""
    if is_training(job_id):
        job = follow_training(client, job_id) if follow else client.training_jobs.retrieve(job_id)
        training.show(job, as_json)
    else:
        selection = follow_selection(client, job_id) if follow else client.selections.retrieve(job_id)
        selections.show(selection, as_json)


def is_training(job_id: str) -> bool:
    """Whether the id is a training job's."""
    return job_id.startswith("trn_")
