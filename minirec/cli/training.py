"""`minirec train` and `minirec download`: from a subset to an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from minirec.api_schemas import TrainingJob
from minirec.api_schemas.training_jobs import Trainer
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.model_option import model_reference
from minirec.cli.options import AsJson, Follow, Metadata, Rewards, SelectionRef, pairs, parse_rewards, put_settings
from minirec.cli.output import note, print_json, results
from minirec.cli.training_view import follow_training, training_details
from minirec.client import MiniRec

SECTIONS = ("grpo", "rollouts", "early_stopping", "evaluation")

TrainingJobId = Annotated[str, typer.Argument(metavar="TRAINING_JOB", help="Id of the training job, trn_...")]


def train(
    context: typer.Context,
    selection: SelectionRef,
    model: Annotated[
        str | None, typer.Option(help="Hub id, or folder of a local model; the selection's unless given.")
    ] = None,
    local: Annotated[
        bool | None, typer.Option("--local/--hub", help="Where the model is; guessed unless given.", show_default=False)
    ] = None,
    trainer: Annotated[
        Trainer | None,
        typer.Option(help="rec_grpo for interactions, text_grpo for prompts: by the dataset unless given."),
    ] = None,
    reward: Rewards = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How often to go through the subset, at most.")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Stop after this many updates instead.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any other setting of the API; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for adapter, metrics and log, once it is over.")
    ] = None,
    metadata: Metadata = None,
    follow: Follow = True,
    as_json: AsJson = False,
) -> None:
    """Train the model on a selection's subset, in its order, with GRPO.

    Held-out samples (the dataset's `valid` split) say which adapter is best and when to stop; the `test` split is
    evaluated before and after:

        minirec train sel_abc --epochs 5 -o adapter
        minirec train sel_abc --updates 100 --set grpo.learning_rate=3e-5 --set evaluation.valid_samples=64

    A selection from prompts is trained on with the rewards that it was made with, or with others:

        minirec train sel_abc --reward exact_title --reward token_f1=0.5 -o adapter

    Ctrl-C leaves the job running; `minirec download` fetches its files later.
    """
    if output is not None and not follow:
        raise typer.BadParameter("--output needs the end of the job: leave out --no-follow, or use minirec download")
    connection: Connection = context.obj
    body: dict[str, Any] = {}
    put_settings(body, settings, sections=SECTIONS)
    evaluation = body.pop("evaluation", None)
    given = {"epochs": epochs, "updates": updates, "rewards": parse_rewards(reward), **body}
    reference = None
    if model is not None:
        reference = model_reference(connection, model, local=local, revision=None, adapter=None)
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        job: TrainingJob = client.training_jobs.create(
            selection=selection_id,
            model=reference,
            trainer=trainer or trainer_of(client, selection_id),
            args={name: value for name, value in given.items() if value is not None},
            evaluation=evaluation,
            metadata=pairs(metadata),
        )
        note(f"training job {job.id}")
        if follow:
            job = follow_training(client, job.id)
        if output is not None:
            fetch(client, job.id, output)
    show(job, as_json, downloaded=output is not None)


def trainer_of(client: MiniRec, selection_id: str) -> Trainer:
    """Return the trainer for what a selection was made from."""
    dataset = client.datasets.retrieve(client.selections.retrieve(selection_id).dataset_id)
    return "text_grpo" if dataset.kind == "prompts" else "rec_grpo"


def download(
    context: typer.Context,
    training_job_id: TrainingJobId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into; made if need be.")],
    as_json: AsJson = False,
) -> None:
    """Download what a training job has left: adapter, metrics, evaluation, log.

    The folder is an adapter as PEFT reads it:

        minirec download trn_abc -o adapter
    """
    connection: Connection = context.obj
    with connection.client() as client:
        written = fetch(client, training_job_id, output)
    if as_json:
        print_json({"id": training_job_id, "files": [str(path) for path in written]})


def fetch(client: MiniRec, job_id: str, folder: Path) -> Sequence[Path]:
    """Download a job's files, say which they are, and return them."""
    written = client.training_jobs.download(job_id, folder)
    note("Written: " + "  ".join(str(path) for path in written))
    return written


def show(job: TrainingJob, as_json: bool, *, downloaded: bool = False) -> None:
    """Print a training job, and what to do with a finished one."""
    if as_json:
        print_json(job)
        return
    results.print(training_details(job))
    if job.status == "succeeded" and not downloaded:
        note(f"\n  minirec download {job.id} -o adapter     the adapter, its metrics and the log")
