"""`minirec export`: a selection as a folder that a trainer reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json
from minirec.client.exports import ExportFormat


def export(
    context: typer.Context,
    selection: SelectionRef,
    format: Annotated[ExportFormat, typer.Option(help="Whose files: a trainer's, or plain ones.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make; new or empty.")],
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Prompts in a batch of the trainer, to be warned of rows that fill none.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Data source of the rows, by which verl rewards; else the dataset's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a folder for a trainer: data in training order, manifest.json, README.md with the flags that keep the order.

    The folder must be new or empty:

        minirec export sel_abc --format trl -o for-trl
        minirec export sel_abc --format verl --batch-size 64 -o for-verl

    A trainer that shuffles undoes the curriculum: use the flags.
    """
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        folder = client.selections.export(
            selection_id, format=format, path=output, batch_size=batch_size, source=source
        )
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for warning in manifest["warnings"]:
        note(f"[yellow]Warning:[/] {escape(warning)}")
    readme = escape(str(folder / "README.md"))
    note(f"{manifest['counts']['rows']} samples written; {readme} says how to keep their order")
    if as_json:
        print_json({"path": str(folder)} | manifest)
