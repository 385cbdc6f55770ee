"""`minirec compare`: what two selections have in common, and what each would cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from minirec.api_schemas import Baseline, SampleScore, Selection
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json, results, table
from minirec.client import MiniRec

SHOWN = 10
ARMS: tuple[str, ...] = get_args(Baseline)


@dataclass(frozen=True)
class Side:
    """What one of the two has picked."""

    name: str
    picked: int
    reward_mean: float
    pass_rate: float
    learnability_mean: float
    never_solved: int
    """Samples that no rollout solved."""
    rollouts: int
    wasted_rollouts: int
    """Rollouts of samples that give no signal: the gate set them aside, or their rollouts all earned the same."""
    only: list[str]
    """Ids that the other has not picked, in the order of picking."""


def compare(
    context: typer.Context,
    first: SelectionRef,
    second: Annotated[
        str,
        typer.Argument(
            metavar="OTHER", help=f"Another selection, or a baseline that the first one has: {', '.join(ARMS)}."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare two selections: overlap, wasted rollouts, settings that differ, and what only one has picked.

    A baseline that was asked for with --baseline can be the other side:

        minirec compare sel_abc sel_def
        minirec compare sel_abc random
        minirec compare sel_abc sel_def --json | jq -r '.sides[0].only[]'
    """
    connection: Connection = context.obj
    with connection.client() as client:
        one = client.selections.retrieve(names.selection_id(client, first))
        if second in ARMS:
            rows = {row.id: row for row in client.selections.scores(one.id)}
            picks = [row for row in rows.values() if row.picked_rank is not None]
            others = [rows[name] for name in client.selections.baseline(one.id, second).ids]  # type: ignore[arg-type]
            other, name = one, second
        else:
            other = client.selections.retrieve(names.selection_id(client, second))
            picks, others, name = picks_of(client, one.id), picks_of(client, other.id), other.id
    both = (side(one.id, picks, others), side(name, others, picks))
    differing = differences(one, other)
    if as_json:
        print_json({**agreement(*both), "sides": list(map(asdict, both)), "settings": differing})
        return
    results.print(comparison_table(both, differing))
    for each in both:
        note(only_text(each))
    if one.dataset_id != other.dataset_id:
        note(f"The datasets are two ({one.dataset_id}, {other.dataset_id}): samples are the same where their ids are.")


def picks_of(client: MiniRec, selection_id: str) -> list[SampleScore]:
    """Return the picked samples, in the order of picking."""
    return list(client.selections.scores(selection_id, order="rank", picked=True))


def side(name: str, picks: Sequence[SampleScore], others: Iterable[SampleScore]) -> Side:
    """Return what one side has picked, in numbers."""
    theirs = {row.id for row in others}
    return Side(
        name=name,
        picked=len(picks),
        reward_mean=fmean(row.reward_mean for row in picks),
        pass_rate=fmean(row.pass_rate for row in picks),
        learnability_mean=fmean(row.learnability for row in picks),
        never_solved=sum(not any(row.hit) for row in picks),
        rollouts=sum(len(row.rewards) for row in picks),
        wasted_rollouts=sum(len(row.rewards) for row in picks if row.gate != "open" or len(set(row.rewards)) == 1),
        only=[row.id for row in picks if row.id not in theirs],
    )


def agreement(one: Side, other: Side) -> dict[str, Any]:
    """Return how many samples both have picked, and the Jaccard index: those in both over those in either."""
    shared = one.picked - len(one.only)
    return {"shared": shared, "jaccard": round(shared / (one.picked + len(other.only)), 6)}


def differences(one: Selection, other: Selection) -> dict[str, list[Any]]:
    """Return the settings that differ, by their dotted names; metadata is no setting."""
    mine, theirs = flat(one.request.model_dump(mode="json")), flat(other.request.model_dump(mode="json"))
    paths = [path for path in mine | theirs if not path.startswith("metadata")]
    return {path: [mine.get(path), theirs.get(path)] for path in paths if mine.get(path) != theirs.get(path)}


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= flat(inner, f"{path}{name}.") if isinstance(inner, dict) else {path + name: inner}
    return found


def comparison_table(sides: tuple[Side, Side], differing: Mapping[str, Sequence[Any]]) -> Table:
    """Build a table of two sides beside one another."""
    one, other = sides
    both = agreement(one, other)
    rows = [
        ("picked", *(f"{each.picked:,}" for each in sides)),
        ("in both", f"{both['shared']:,}", f"Jaccard {both['jaccard']:.3f}"),
        ("in this one only", *(f"{len(each.only):,}" for each in sides)),
        ("mean reward", *(f"{each.reward_mean:.4f}" for each in sides)),
        ("pass rate", *(f"{each.pass_rate:.3f}" for each in sides)),
        ("mean L", *(f"{each.learnability_mean:.4f}" for each in sides)),
        ("never solved", *(f"{each.never_solved:,}" for each in sides)),
        ("wasted rollouts", *(f"{each.wasted_rollouts:,} of {each.rollouts:,}" for each in sides)),
        *((path, *("" if value is None else str(value) for value in values)) for path, values in differing.items()),
    ]
    columns = ("", one.name, other.name)
    return table(columns, rows, right=columns[1:])


def only_text(each: Side) -> str:
    """Return the first ids that only one side has."""
    rest = f" and {len(each.only) - SHOWN:,} more (--json has all)" if len(each.only) > SHOWN else ""
    return f"Only in {each.name}: {', '.join(each.only[:SHOWN]) or 'none'}{rest}"
