"""`minirec profile`: how the rewards of a pool are spread, sample by sample and rollout by rollout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated

import typer
from rich.table import Table

from minirec.api_schemas import SampleScore
from minirec.cli import names
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson, SelectionRef
from minirec.cli.output import note, print_json, results, table

BINS = 10
WIDTH = 24
"""Characters of the longest bar."""


@dataclass(frozen=True)
class Profile:
    """The rewards of some samples."""

    samples: int
    rollouts: int
    reward_mean: float
    reward_std: float
    """Over all rollouts."""
    std_mean: float
    """Mean over the samples of the standard deviation of a sample's rollouts."""
    pass_rate: float
    never_solved: int
    """Samples that no rollout solved."""
    always_solved: int
    all_zero: int
    """Samples whose rollouts all earned 0."""
    all_one: int
    all_alike: int
    """Samples whose rollouts all earned the same: nothing can be learnt by comparing them."""
    rewards: list[int]
    """Rollouts by reward, in equal steps between the ends of `range`."""
    means: list[int]
    """Samples by mean reward, in the same steps."""
    range: tuple[float, float]


def profile(
    context: typer.Context,
    selection: SelectionRef,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Also write a line of JSON per sample.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Profile the rewards of a selection's pool and of its picks: means, spread, samples that are all 0 or all 1.

    What no rollout or every rollout solves cannot be learnt from; the profile says how much of the pool that is:

        minirec profile sel_abc
        minirec profile sel_abc -o profile.jsonl
    """
    connection: Connection = context.obj
    with connection.client() as client:
        selection_id = names.selection_id(client, selection)
        rows = list(client.selections.scores(selection_id))
    bounds = ends(rows)
    pool = profile_of(rows, bounds)
    picked = profile_of([row for row in rows if row.picked_rank is not None], bounds)
    if output is not None:
        output.write_text("".join(json.dumps(sample_line(row)) + "\n" for row in rows), encoding="utf-8")
        note(f"{output} written: {len(rows):,} samples")
    if as_json:
        print_json({"selection_id": selection_id, "pool": asdict(pool), "picked": asdict(picked)})
    else:
        results.print(profile_table(pool, picked))
        results.print(rewards_table(pool))


def sample_line(row: SampleScore) -> dict[str, object]:
    """Return one sample's rewards in numbers."""
    return {
        "id": row.id,
        "mean": row.reward_mean,
        "std": row.reward_std,
        "min": min(row.rewards),
        "max": max(row.rewards),
        "pass_rate": row.pass_rate,
        "rewards": row.rewards,
        "picked": row.picked_rank is not None,
    }


def ends(rows: Sequence[SampleScore]) -> tuple[float, float]:
    """Return between which rewards to count: 0 and 1, further apart where some lie outside."""
    found = [reward for row in rows for reward in row.rewards]
    return min(0.0, *found), max(1.0, *found)


def profile_of(rows: Sequence[SampleScore], bounds: tuple[float, float]) -> Profile:
    """Return the profile of some samples, of which there is at least one."""
    rewards = [reward for row in rows for reward in row.rewards]
    return Profile(
        samples=len(rows),
        rollouts=len(rewards),
        reward_mean=fmean(rewards),
        reward_std=pstdev(rewards),
        std_mean=fmean(pstdev(row.rewards) for row in rows),
        pass_rate=fmean(row.pass_rate for row in rows),
        never_solved=sum(not any(row.hit) for row in rows),
        always_solved=sum(all(row.hit) for row in rows),
        all_zero=sum(not any(row.rewards) for row in rows),
        all_one=sum(all(reward == 1 for reward in row.rewards) for row in rows),
        all_alike=sum(len(set(row.rewards)) == 1 for row in rows),
        rewards=counted(rewards, bounds),
        means=counted((row.reward_mean for row in rows), bounds),
        range=bounds,
    )


def counted(values: Iterable[float], bounds: tuple[float, float]) -> list[int]:
    """Count values in equal steps between bounds; the highest belongs to the last step."""
    low, high = bounds
    counts = [0] * BINS
    for value in values:
        step = int((value - low) / (high - low) * BINS)
        counts[max(0, min(step, BINS - 1))] += 1
    return counts


def profile_table(pool: Profile, picked: Profile) -> Table:
    """Build a table of the pool beside the picks."""

    def shares(name: str) -> tuple[str, str]:
        found = [(getattr(each, name), each.samples) for each in (pool, picked)]
        of_pool, of_picked = (f"{count:,} ({count / samples:.1%})" for count, samples in found)
        return of_pool, of_picked

    def numbers(name: str) -> tuple[str, str]:
        return f"{getattr(pool, name):.4f}", f"{getattr(picked, name):.4f}"

    rows = [
        ("samples", f"{pool.samples:,}", f"{picked.samples:,}"),
        ("rollouts", f"{pool.rollouts:,}", f"{picked.rollouts:,}"),
        ("mean reward", *numbers("reward_mean")),
        ("standard deviation, all rollouts", *numbers("reward_std")),
        ("standard deviation within a sample", *numbers("std_mean")),
        ("pass rate", *numbers("pass_rate")),
        ("never solved", *shares("never_solved")),
        ("always solved", *shares("always_solved")),
        ("rollouts all earn 0", *shares("all_zero")),
        ("rollouts all earn 1", *shares("all_one")),
        ("rollouts all earn the same", *shares("all_alike")),
    ]
    return table(("", "pool", "picked"), rows, right=("pool", "picked"))


def rewards_table(pool: Profile) -> Table:
    """Build a table of how many rollouts earned how much, and how many samples do so on average."""
    (low, high), most = pool.range, max(pool.rewards)
    step = (high - low) / BINS
    rows = [
        (
            f"{low + place * step:.2f} to {low + (place + 1) * step:.2f}",
            f"{rollouts:,}",
            f"{samples:,}",
            "█" * round(WIDTH * rollouts / most),
        )
        for place, (rollouts, samples) in enumerate(zip(pool.rewards, pool.means, strict=True))
    ]
    return table(("reward", "rollouts", "samples by mean", ""), rows, right=("rollouts", "samples by mean"))
