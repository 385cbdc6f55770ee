"""`minirec explain`: one sample of a selection, and why it was picked or not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from minirec.api_schemas import SampleExplanation
from minirec.api_schemas.explanations import Rollout, TitledItem
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json, results, table
from minirec.cli.selections import verdict


def explain(
    context: typer.Context,
    selection: SelectionRef,
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Id of a sample of the pool, as in minirec scores.")],
    as_json: AsJson = False,
) -> None:
    """Say why a sample was picked or not: its rank, scores and gate, the nearest pick, and what the model answered.

    Any sample of the pool has an explanation, also one that was not picked:

        minirec explain sel_abc u7-3
        minirec explain ml-100k u7-3 --json | jq .why
    """
    connection: Connection = context.obj
    with connection.client() as client:
        found = client.selections.explain(names.selection_id(client, selection), sample)
    if as_json:
        print_json(found)
        return
    results.print(explanation_table(found))
    results.print(rollout_table(found.rollouts))
    if found.texts_kept < len(found.rollouts):
        note(f"[dim]Texts are kept of {found.texts_kept} rollouts of a sample (--set texts.rollouts=...)[/]")


def explanation_table(found: SampleExplanation) -> Table:
    """Build a table of a sample, one property a line."""
    score = found.score
    rows: list[tuple[str, str | Text]] = [
        ("sample", score.id),
        ("", Text(found.why, "bold")),
        ("picked", "no" if score.picked_rank is None else f"as number {score.picked_rank + 1}"),
    ]
    if score.training_position is not None:
        rows.append(("training order", f"place {score.training_position + 1}"))
    rows += [
        ("score", f"{score.score:.4f}, {found.score_rank + 1:,}. of the pool by score alone"),
        ("reward", f"{score.reward_mean:.4f} mean, {score.reward_std:.4f} standard deviation"),
        ("pass rate", f"{score.pass_rate:.2f}"),
        ("learnability L", f"{score.learnability:.4f}"),
        *(
            [("representativeness R", f"{score.representativeness:.4f}")]
            if score.representativeness is not None
            else []
        ),
        ("gate", verdict(score)),
    ]
    if found.lowest_picked_score is not None:
        rows.append(("lowest score picked", f"{found.lowest_picked_score:.4f}"))
    if found.nearest_pick is not None:
        near = found.nearest_pick
        rows.append(("nearest pick", f"{near.id}, number {near.picked_rank + 1}, at distance {near.distance:.4f}"))
    rows += content_rows(found)
    return table(("", ""), rows)


def content_rows(found: SampleExplanation) -> list[tuple[str, str | Text]]:
    """Return the rows that say what the sample is: history and target with titles, or prompt and answer."""
    if found.target is None:
        shown = {name: value for name, value in found.sample.items() if name != "id"}
        return [(name, value if isinstance(value, str) else repr(value)) for name, value in shown.items()]
    rows: list[tuple[str, str | Text]] = [
        ("history" if place == 0 else "", titled(item)) for place, item in enumerate(found.history)
    ]
    return [*rows, ("target", titled(found.target))]


def titled(item: TitledItem) -> str:
    """Return an item as people know it: title and id."""
    return f"{item.title} ({item.item_id})"


def rollout_table(rollouts: list[Rollout]) -> Table:
    """Build a table of the rollouts, each with what it earned and what the model wrote, where that was kept."""
    rows = [
        (
            str(number),
            f"{rollout.reward:.4f}",
            "yes" if rollout.hit else "no",
            "" if rollout.text is None else rollout.text.strip() + (" ..." if rollout.cut else ""),
        )
        for number, rollout in enumerate(rollouts, 1)
    ]
    return table(("rollout", "reward", "hit", "text"), rows, right=("rollout", "reward"))
