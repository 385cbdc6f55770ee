"""`minirec doctor`: what is there, whether it will do, and what to do if not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

import typer
from rich.table import Table
from rich.text import Text

from minirec.cli.checks.finding import Finding, State
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson
from minirec.cli.output import notes, print_json, results, table

STYLE = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at this machine: versions, Redis, devices, memory, disk, stacks, models, and what would run where.

    Each is ok, a warning, or a problem with what to do; the exit status is 1 where there is a problem. Nothing is
    changed, and no key is shown:

        minirec doctor
        minirec doctor --json | jq -r '.findings[] | select(.state != "ok") | .name'
    """
    connection: Connection = context.obj
    with notes.status("looking around"):
        found = list(findings(connection))
    counts = {state: sum(each.state == state for each in found) for state in get_args(State)}
    if as_json:
        print_json({"findings": [each.as_json() for each in found], "counts": counts})
    else:
        results.print(findings_table(found))
        results.print(verdict(counts["warning"], counts["problem"]))
    if counts["problem"]:
        raise typer.Exit(1)


def findings(connection: Connection) -> Iterator[Finding]:
    """Yield what all checks say."""
    from minirec.cli.checks.machine import machine
    from minirec.cli.checks.models import models
    from minirec.cli.checks.services import services
    from minirec.cli.checks.software import software

    yield from software()
    yield from services(connection)
    yield from machine()
    yield from models(connection.base_url)


def findings_table(found: Iterable[Finding]) -> Table:
    """Build a table of findings; what to do stands below what was found."""
    rows = (
        (Text(each.state, STYLE[each.state]), each.name, "\n".join(filter(None, (each.found, each.advice))))
        for each in found
    )
    return table(("", "what", "found"), rows)


def verdict(warnings: int, problems: int) -> Text:
    """Return what all of it comes to."""
    if problems:
        return Text(f"\n{problems} {'problem' if problems == 1 else 'problems'}: see above for what to do", "red")
    if warnings:
        return Text(f"\nNo problems, {warnings} {'warning' if warnings == 1 else 'warnings'}", "yellow")
    return Text("\nAll is well", "green")
