"""`minirec datasets`: upload, list, show, delete."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from minirec.api_schemas import TimestampUnit
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.follow import upload as upload_shown
from minirec.cli.options import AsJson, DatasetRef, Limit, Metadata, dataset_files, pairs
from minirec.cli.output import dataset_details, dataset_table, note_warnings, print_json, results

app = typer.Typer(no_args_is_help=True, help="Upload, list, show and delete datasets.")

ArrayFile = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="npy or safetensors, (n, d).")]


@app.command()
def upload(
    context: typer.Context,
    samples: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL, JSONL.gz or Parquet.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The catalogue, in the same formats.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Prompts instead, in the same formats.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    metadata: Metadata = None,
    timestamp_unit: Annotated[
        TimestampUnit | None, typer.Option(help="Unit of the samples' times; seconds unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload samples and their catalogue, or prompts; every row is checked, faults are named by file, line and field.

    A sample is what a user chose, most recent last, and what came next; an item may have any further fields:

        {"id": "s1", "history": ["i1", "i2"], "target": "i3"}
        {"item_id": "i1", "title": "Blue Train", "artist": "John Coltrane"}

    Each has its own file:

        minirec datasets upload --samples samples.jsonl --items items.jsonl

    A prompt is a text or a chat, and what a right answer is; it may have any further fields:

        {"id": "p1", "prompt": "What is 12 * 12?", "answer": "144", "level": 3}

    Its file is all that there is:

        minirec datasets upload --prompts prompts.jsonl

    The same dataset may be selected from as often as you like.
    """
    connection: Connection = context.obj
    files = dataset_files(samples, items, prompts)
    if not files:
        raise typer.BadParameter("give --samples and --items, or --prompts")
    with connection.client() as client:
        dataset = upload_shown(client, files, name, pairs(metadata), timestamp_unit)
    print_json(dataset) if as_json else results.print(dataset_details(dataset))


@app.command()
def signals(
    context: typer.Context,
    dataset: DatasetRef,
    rewards: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSONL, JSONL.gz or Parquet.")],
    vectors: ArrayFile = None,
    embeddings: ArrayFile = None,
    ids: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Whose rows the arrays have, one id per line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload rewards that you measured in runs of your own; a selection by them needs no model and no GPU.

    One line per sample, one reward per rollout:

        {"sample_id": "s1", "reward": [0.12, 0.0, 0.31, 0.0]}

    Then select by them:

        minirec select --dataset ds_... --signals --size 256
    """
    connection: Connection = context.obj
    with connection.client() as client:
        dataset_id = names.dataset_id(client, dataset)
        found = client.datasets.upload_signals(
            dataset_id, rewards=rewards, vectors=vectors, embeddings=embeddings, ids=ids
        )
    if as_json:
        print_json(found)
    else:
        results.print(f"{found.n_samples:,} samples with {found.rollouts} rewards each, for {found.dataset_id}")


@app.command("list")
def list_datasets(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first.

    Names that several datasets share do not tell them apart; their ids do:

        minirec datasets list
        minirec datasets list --json | jq -r '.[].id'
    """
    connection: Connection = context.obj
    with connection.client() as client:
        found = list(islice(client.datasets.list(), limit))
    print_json(found) if as_json else results.print(dataset_table(found))


@app.command()
def show(context: typer.Context, dataset: DatasetRef, as_json: AsJson = False) -> None:
    """Show one dataset: its size, its splits, and what looks odd in it.

    By its id, or by a name that no other has:

        minirec datasets show ds_abc
        minirec datasets show ml-100k --json
    """
    connection: Connection = context.obj
    with connection.client() as client:
        found = client.datasets.retrieve(names.dataset_id(client, dataset))
    if as_json:
        print_json(found)
    else:
        results.print(dataset_details(found))
        note_warnings(found)


@app.command()
def delete(context: typer.Context, dataset: DatasetRef, as_json: AsJson = False) -> None:
    """Delete a dataset, its signals, and all that its jobs computed; refused while one of them runs.

    The records of its jobs stay until minirec delete removes them, too:

        minirec datasets delete ds_abc
    """
    connection: Connection = context.obj
    with connection.client() as client:
        deleted = client.datasets.delete(names.dataset_id(client, dataset))
    print_json(deleted) if as_json else results.print(f"{deleted.id} deleted")
