"""`minirec plot`: a finished selection drawn in the terminal, or into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from minirec.api_schemas import SelectionPlots
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.errors import CommandError
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json, results, table
from minirec.client import MiniRec

IMAGES = (".png", ".svg", ".pdf")
BARS = 40
"""Characters of the longest bar."""
MERGED = 2
"""Bins of the service that share a line."""
COLUMNS, LINES = 60, 16
"""Characters of the picture of L against R."""
STYLES = {"open": "cyan", "too_hard": "bright_black", "too_easy": "yellow", "no_spread": "magenta"}
SIGNS = {"open": "█", "too_hard": "░", "too_easy": "▒", "no_spread": "▓"}
"""Told apart without colours, too."""
DENSITY = "·:*#"
PICK = "o"


def plot(
    context: typer.Context,
    selection: SelectionRef,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="A picture (.png, .svg, .pdf) or a page (.html) instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a finished selection: rewards by the gate's verdict with the picks, and L against R.

    In the terminal, or into a file; a page has all charts, as `minirec report` writes it:

        minirec plot sel_abc
        minirec plot sel_abc -o rewards.svg
        minirec plot sel_abc -o report.html

    `--json` has the numbers behind the picture.
    """
    if output is not None and output.suffix not in (*IMAGES, ".html"):
        endings = ", ".join((*IMAGES, ".html"))
        raise typer.BadParameter(f"the ending of {output} names no kind of picture; these do: {endings}")
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        if output is not None:
            write(client, selection_id, output)
            note(f"{output} written")
            if as_json:
                print_json({"selection_id": selection_id, "path": str(output)})
            return
        found = client.selections.plots(selection_id)
    if as_json:
        print_json(found)
    else:
        results.print(Group(rewards_chart(found), Text(), *plane(found)))


def write(client: MiniRec, selection_id: str, output: Path) -> None:
    """Write a picture or a page. Raises CommandError where the library that draws is not installed."""
    if output.suffix == ".html":
        client.selections.download_report(selection_id, output)
        return
    try:
        from minirec.cli.plots import plot_selection
    except ImportError as error:
        raise CommandError(f"pictures need {error.name}: pip install 'minirec[up]'; .html needs nothing") from error
    plot_selection(client.selections.plots(selection_id), output)


def rewards_chart(found: SelectionPlots) -> Table:
    """Build a bar chart of mean rewards: samples by the gate's verdict, and how many of them were picked."""
    edges = found.rewards.edges
    counts = {name: merged(found.rewards.counts[name]) for name in (*SIGNS, "picked")}
    sums = [sum(counts[name][line] for name in SIGNS) for line in range(len(counts["picked"]))]
    most = max(sums)
    rows: list[tuple[str | Text, ...]] = []
    for line, total in enumerate(sums):
        bar = Text()
        for name, length in lengths([counts[verdict][line] for verdict in SIGNS], total, most):
            bar.append(SIGNS[name] * length, STYLES[name])
        low, high = edges[line * MERGED], edges[min((line + 1) * MERGED, len(edges) - 1)]
        rows.append((f"{low:.3f}-{high:.3f}", f"{total:,}", f"{counts['picked'][line]:,}", bar))
    made = table(("mean reward", "pool", "picked", ""), rows, right=("pool", "picked"))
    made.title = Text.assemble(
        "Rewards: ",
        *((f"{SIGNS[name]} {name.replace('_', ' ')}  ", STYLES[name]) for name in SIGNS if any(counts[name])),
    )
    made.title_justify = "left"
    return made


def merged(counts: Sequence[int]) -> list[int]:
    """Return counts with neighbours added up."""
    return [sum(counts[start : start + MERGED]) for start in range(0, len(counts), MERGED)]


def lengths(parts: Sequence[int], total: int, most: int) -> list[tuple[str, int]]:
    """Return how long each verdict's part of a bar is; what there is has at least one character."""
    if not total:
        return []
    whole = max(1, round(BARS * total / most))
    ends = [round(whole * sum(parts[: place + 1]) / total) for place in range(len(parts))]
    starts = [0, *ends[:-1]]
    return [(name, end - start) for name, start, end in zip(SIGNS, starts, ends, strict=True)]


def plane(found: SelectionPlots) -> list[Text]:
    """Return a picture of learnability L (upwards) against representativeness R: picks over the density of the pool."""
    points = found.points
    if points.representativeness is None:
        return [Text("L against R: no vectors were measured, so there is no R")]
    across, up = scaled(points.representativeness, COLUMNS), scaled(points.learnability, LINES)
    crowd: dict[tuple[int, int], int] = {}
    picked = set()
    for place, cell in enumerate(zip(up, across, strict=True)):
        crowd[cell] = crowd.get(cell, 0) + 1
        if place < points.picked:
            picked.add(cell)
    most = max(crowd.values())
    lines = [Text(f"L against R: {PICK} picks, {' '.join(DENSITY)} the others, few to many")]
    for row in reversed(range(LINES)):
        line = Text("│", "dim")
        for column in range(COLUMNS):
            there = crowd.get((row, column), 0)
            if (row, column) in picked:
                line.append(PICK, "bold red")
            else:
                line.append(DENSITY[(len(DENSITY) - 1) * there // most] if there else " ", "cyan")
        lines.append(line)
    low, high = min(points.representativeness), max(points.representativeness)
    lines.append(Text("└" + "─" * COLUMNS, "dim"))
    lines.append(Text(f" R {low:.3f}".ljust(COLUMNS - 6) + f"{high:.3f}"))
    lines.append(Text(f" L from {min(points.learnability):.3f} (below) to {max(points.learnability):.3f} (above)"))
    return lines


def scaled(values: Sequence[float], cells: int) -> list[int]:
    """Return in which of so many cells each value lies, between the lowest and the highest of them."""
    low, high = min(values), max(values)
    width = (high - low) or 1.0
    return [min(cells - 1, int((value - low) / width * cells)) for value in values]
