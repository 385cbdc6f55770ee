"""`minirec datasets`: upload, list, show, delete."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from minirec.cli.connection import Connection
from minirec.cli.follow import upload as upload_shown
from minirec.cli.options import AsJson, Limit, Metadata, pairs
from minirec.cli.output import dataset_table, print_json, results

app = typer.Typer(no_args_is_help=True, help="Upload, list, show and delete datasets.")

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset, ds_...")]


@app.command()
def upload(
    context: typer.Context,
    samples: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSONL, JSONL.gz or Parquet.")],
    items: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The catalogue, in the same formats.")],
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    metadata: Metadata = None,
    as_json: AsJson = False,
) -> None:
    """Upload samples and their catalogue; every row is checked, and faults are named by file, line and field.

    A sample is what a user chose, most recent last, and what came next; an item may have any further fields:

        {"id": "s1", "history": ["i1", "i2"], "target": "i3"}
        {"item_id": "i1", "title": "Blue Train", "artist": "John Coltrane"}

    Each has its own file:

        minirec datasets upload --samples samples.jsonl --items items.jsonl

    The same dataset may be selected from as often as you like.
    """
    connection: Connection = context.obj
    with connection.client() as client:
        dataset = upload_shown(client, samples, items, name, pairs(metadata))
    print_json([dataset]) if as_json else results.print(dataset_table([dataset]))


@app.command("list")
def list_datasets(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    connection: Connection = context.obj
    with connection.client() as client:
        found = list(islice(client.datasets.list(), limit))
    print_json(found) if as_json else results.print(dataset_table(found))


@app.command()
def show(context: typer.Context, dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Show one dataset."""
    connection: Connection = context.obj
    with connection.client() as client:
        dataset = client.datasets.retrieve(dataset_id)
    print_json([dataset]) if as_json else results.print(dataset_table([dataset]))


@app.command()
def delete(context: typer.Context, dataset_id: DatasetId) -> None:
    """Delete a dataset; selections made from it are kept."""
    connection: Connection = context.obj
    with connection.client() as client:
        client.datasets.delete(dataset_id)
    results.print(f"{dataset_id} deleted")
