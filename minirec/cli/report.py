"""`minirec report`: a selection as one HTML file to send to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json


def report(
    context: typer.Context,
    selection: SelectionRef,
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="The file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a finished selection, explained, as one HTML file that needs nothing else.

    It has the charts and their tables, what was asked for, and the first picks with what the model answered:

        minirec report sel_abc -o report.html
    """
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        path = client.selections.download_report(selection_id, output)
    if as_json:
        print_json({"selection_id": selection_id, "path": str(path)})
    note(f"{escape(str(path))}: open it in a browser, or send it to somebody")
