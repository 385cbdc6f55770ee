"""Commands for jobs of every kind: list, show, cancel, retry, delete."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from minirec.api_schemas import JOB_KINDS, SELECTION, TRAINING_JOB, Job, Status
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.job_views import VIEWS, mixed_table, view_of
from minirec.cli.options import AsJson, Follow, InState, JobId, JobIds, Limit, OfDataset
from minirec.cli.output import print_json, results
from minirec.client import MiniRec

app = typer.Typer(
    no_args_is_help=True, help="What runs and what has run: selections, training jobs and evaluations together."
)

KINDS = {kind.name: kind for kind in JOB_KINDS}


def known_kind(name: str) -> str:
    """Return the name of a kind. Raises `typer.BadParameter` for any other."""
    if name not in KINDS:
        raise typer.BadParameter(f"{name!r} is no kind of job; the kinds are {', '.join(KINDS)}")
    return name


Kind = Annotated[
    str, typer.Option("--kind", metavar="KIND", callback=known_kind, help=f"The kind of jobs: {', '.join(KINDS)}.")
]
AnyKind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        callback=lambda name: name and known_kind(name),
        help=f"Only jobs of one kind: {', '.join(KINDS)}.",
    ),
]


@app.command("show")
def status(context: typer.Context, job_id: JobId, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show a job; with --follow, until it is over.

    Its id says of which kind it is:

        minirec status sel_abc
        minirec status trn_abc --follow
    """
    connection: Connection = context.obj
    with connection.client() as client:
        show(client, job_id, follow=follow, as_json=as_json)


def list_jobs(
    context: typer.Context,
    kind: Kind = SELECTION.name,
    training: Annotated[
        bool, typer.Option("--training", help=f"Training jobs: short for --kind {TRAINING_JOB.name}.")
    ] = False,
    status: InState = None,
    dataset: OfDataset = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs of a kind, selections unless given, newest first.

    `minirec jobs list` has all kinds together:

        minirec list
        minirec list --training --status running
        minirec list --dataset ml-100k --json | jq -r '.[].id'
    """
    connection: Connection = context.obj
    chosen = TRAINING_JOB.name if training else kind
    with connection.client() as client:
        found = jobs_of_kind(client, chosen, status, dataset and names.dataset_id(client, dataset), limit)
    print_json(found) if as_json else results.print(VIEWS[chosen].table(found))


@app.command("list")
def list_all(
    context: typer.Context,
    kind: AnyKind = None,
    status: InState = None,
    dataset: OfDataset = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List selections, training jobs and evaluations together, newest first.

    What has not ended has the state queued, running or cancelling:

        minirec jobs list
        minirec jobs list --status running
        minirec jobs list --kind training_job --json | jq -r '.[].id'
    """
    connection: Connection = context.obj
    with connection.client() as client:
        of = dataset and names.dataset_id(client, dataset)
        found = [job for name in KINDS if kind in (None, name) for job in jobs_of_kind(client, name, status, of, limit)]
    found = sorted(found, key=lambda job: job.created_at, reverse=True)[:limit]
    print_json(found) if as_json else results.print(mixed_table(found))


def jobs_of_kind(client: MiniRec, kind: str, status: Status | None, dataset: str | None, limit: int) -> list[Job]:
    """Return the newest jobs of a kind.

    Args:
        client: Of the service.
        kind: Name of the kind.
        status: Only those in this state.
        dataset: Only those of the dataset with this id.
        limit: How many at most.
    """
    return list(islice(client.jobs(KINDS[kind]).list(status=status, dataset=dataset), limit))


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job; what it has done is kept.

    `minirec retry` goes on from there:

        minirec cancel sel_abc
    """
    connection: Connection = context.obj
    with connection.client() as client:
        job = client.jobs_of(job_id).cancel(job_id)
    print_json(job) if as_json else results.print(f"{job.id} {job.status}")


@app.command()
def retry(context: typer.Context, job_id: JobId, follow: Follow = True, as_json: AsJson = False) -> None:
    """Resume a failed or cancelled job from what is finished.

    What is scored is not scored again, and training goes on from its last checkpoint:

        minirec retry sel_abc
        minirec retry trn_abc --no-follow
    """
    connection: Connection = context.obj
    with connection.client() as client:
        client.jobs_of(job_id).retry(job_id)
        show(client, job_id, follow=follow, as_json=as_json)


@app.command()
def delete(context: typer.Context, job_ids: JobIds, as_json: AsJson = False) -> None:
    """Delete jobs that have ended, with their results; what other jobs share stays.

    A job that another needs, as a training job its selection, is refused until that one has ended. Datasets are deleted
    with `minirec datasets delete`:

        minirec delete sel_abc trn_abc
    """
    connection: Connection = context.obj
    with connection.client() as client:
        delete_all(client, job_ids, as_json=as_json)


def delete_all(client: MiniRec, job_ids: list[str], *, as_json: bool) -> None:
    """Delete jobs one after the other; the first that is refused ends it, and those before it are gone."""
    for job_id in job_ids:
        client.jobs_of(job_id).delete(job_id)
        if not as_json:
            results.print(f"{job_id} deleted")
    if as_json:
        print_json([{"id": job_id, "deleted": True} for job_id in job_ids])


def show(client: MiniRec, job_id: str, *, follow: bool, as_json: bool) -> None:
    """Print a job, at once or when it is over."""
    view = view_of(job_id)
    view.show(view.follow(client, job_id) if follow else client.jobs_of(job_id).retrieve(job_id), as_json)
