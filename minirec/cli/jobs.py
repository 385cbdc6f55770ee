"""Commands for jobs of every kind: status, list, cancel, retry, delete."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from api_schemas import JOB_KINDS, SELECTION, TRAINING_JOB, Status
from minirec.cli.connection import Connection
from minirec.cli.job_views import VIEWS, view_of
from minirec.cli.options import AsJson, Follow, JobId, JobIds, Limit
from minirec.cli.output import print_json, results
from minirec.client import MiniRec

KINDS = {kind.name: kind for kind in JOB_KINDS}


def known_kind(name: str) -> str:
    """Return the name of a kind. Raises `typer.BadParameter` for any other."""
    if name not in KINDS:
        raise typer.BadParameter(f"{name!r} is no kind of job; the kinds are {', '.join(KINDS)}")
    return name


def status(context: typer.Context, job_id: JobId, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show a job; with --follow, until it is over."""
    connection: Connection = context.obj
    with connection.client() as client:
        show(client, job_id, follow=follow, as_json=as_json)


def list_jobs(
    context: typer.Context,
    kind: Annotated[
        str,
        typer.Option(metavar="KIND", callback=known_kind, help=f"The kind of jobs to list: {', '.join(KINDS)}."),
    ] = SELECTION.name,
    training: Annotated[
        bool, typer.Option("--training", help=f"Training jobs: short for --kind {TRAINING_JOB.name}.")
    ] = False,
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs on this dataset.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs of a kind, selections unless given, newest first."""
    connection: Connection = context.obj
    chosen = TRAINING_JOB if training else KINDS[kind]
    with connection.client() as client:
        jobs = list(islice(client.jobs(chosen).list(status=status, dataset=dataset), limit))
    print_json(jobs) if as_json else results.print(VIEWS[chosen.name].table(jobs))


def cancel(context: typer.Context, job_id: JobId) -> None:
    """Stop a job; what it has done is kept."""
    connection: Connection = context.obj
    with connection.client() as client:
        job = client.jobs_of(job_id).cancel(job_id)
    results.print(f"{job.id} {job.status}")


def retry(context: typer.Context, job_id: JobId, follow: Follow = True, as_json: AsJson = False) -> None:
    """Resume a failed or cancelled job from what is finished."""
    connection: Connection = context.obj
    with connection.client() as client:
        client.jobs_of(job_id).retry(job_id)
        show(client, job_id, follow=follow, as_json=as_json)


def delete(context: typer.Context, job_ids: JobIds) -> None:
    """Delete jobs that have ended, with their results; what other jobs share stays.

    A job that another needs, as a training job its selection, is refused until that one has ended. Datasets are deleted
    with `minirec datasets delete`.
    """
    connection: Connection = context.obj
    with connection.client() as client:
        for job_id in job_ids:
            client.jobs_of(job_id).delete(job_id)
            results.print(f"{job_id} deleted")


def show(client: MiniRec, job_id: str, *, follow: bool, as_json: bool) -> None:
    """Print a job, at once or when it is over."""
    view = view_of(job_id)
    view.show(view.follow(client, job_id) if follow else client.jobs_of(job_id).retrieve(job_id), as_json)
