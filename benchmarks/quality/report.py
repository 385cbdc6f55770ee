"""The results of a study: tables for people, flat files for machines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.quality.arms import KNOWN, random_beside
from benchmarks.quality.intervals import Interval, over_runs
from benchmarks.quality.runs import Bench, scores

FULL, RANDOM, START = "full data", "random", "no training"
MEASURES: Final = ("ndcg", "ndcg10", "mrr", "logp")
COLUMNS: Final = ("set", "arm", "seed", "updates", "part", *MEASURES)

Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""What came out, by arm and seed."""


def write_report(benches: Sequence[Bench], out: Path) -> str:
    """Write tables and numbers into `out`, and return the tables."""
    out.mkdir(parents=True, exist_ok=True)
    found = {bench.name: load_runs(bench) for bench in benches}
    updates = str(benches[0].study.updates)
    text = "\n".join(
        [
            soundness_table(found, updates),
            *(gain_table(found, updates, measure) for measure in MEASURES),
            picks_table(benches, found),
        ]
    )
    (out / "table.md").write_text(text)
    write_runs(found, out / "runs.csv")
    return text


def file_name(arm: str) -> str:
    """Return the name of an arm as part of a file name."""
    return arm.replace("1/2", "half").replace(",", "").replace(" ", "-")


def load_runs(bench: Bench) -> Runs:
    """Read every run of a study that is there."""
    found: dict[str, dict[int, Any]] = {}
    for arm in (START, *KNOWN):
        paths = bench.folder.glob(f"seed-*/{file_name(arm)}.json")
        by_seed = {int(path.parent.name.removeprefix("seed-")): json.loads(path.read_text()) for path in paths}
        if by_seed:
            found[arm] = dict(sorted(by_seed.items()))
    return found


def last(run: Mapping[str, Any], updates: str, measure: str) -> float:
    """Return a measure on the test samples at a budget; the start's is that of no training at all."""
    at = run["curve"].get(updates) or run["curve"]["0"]
    return float(at["test"][measure])


def gain(runs: Runs, arm: str, other: str, updates: str, measure: str) -> Interval | None:
    """Return how much larger an arm's measure is than another's over the seeds of both; None for fewer than two."""
    both = sorted(set(runs.get(arm, {})) & set(runs.get(other, {})))
    if len(both) < 2:
        return None
    return over_runs(
        [last(runs[arm][seed], updates, measure) - last(runs[other][seed], updates, measure) for seed in both]
    )


def soundness_table(found: Mapping[str, Runs], updates: str) -> str:
    """Show whether training helps at all: full data against its start and against a random tenth."""
    rows = []
    for name, runs in found.items():
        means = [
            np.mean([last(run, updates, "ndcg") for run in runs.get(arm, {}).values()]) for arm in (START, RANDOM, FULL)
        ]
        gains = (gain(runs, *pair, updates, "ndcg") for pair in ((RANDOM, START), (FULL, START), (FULL, RANDOM)))
        rows.append([name, len(runs.get(FULL, {})), *(f"{mean:.4f}" for mean in means), *map(shown, gains)])
    head = ["set", "runs", START, RANDOM, FULL, "random - start", "full - start", "full - random"]
    return table(head, rows)


def gain_table(found: Mapping[str, Runs], updates: str, measure: str) -> str:
    """Show every arm's gain over a random choice with the same K on every set."""
    arms = [arm for arm in KNOWN if arm != random_beside(arm) and any(arm in runs for runs in found.values())]
    rows = [
        [arm, *(shown(gain(runs, arm, random_beside(arm), updates, measure)) for runs in found.values())]
        for arm in arms
    ]
    return table([f"{measure} against random", *found], rows)


def picks_table(benches: Sequence[Bench], found: Mapping[str, Runs]) -> str:
    """Show what kind of samples each arm picks: means over seeds, the pool's in the first line of a set."""
    rows = []
    for bench in benches:
        seeds = sorted(found[bench.name].get(RANDOM, {}))
        known = {seed: traits(bench, seed) for seed in seeds}
        everyone = [{name: values.mean() for name, values in known[seed].items()} for seed in seeds]
        rows.append([bench.name, "the pool", *mean_cells(everyone), ""])
        for arm, runs in found[bench.name].items():
            chosen = {seed: np.array(run["picks"], dtype=np.int64) for seed, run in runs.items() if run.get("picks")}
            chosen = {seed: picks for seed, picks in chosen.items() if seed in known}
            if not chosen:
                continue
            means = [
                {name: values[picks].mean() for name, values in known[seed].items()} for seed, picks in chosen.items()
            ]
            targets = [len(np.unique(bench.targets[bench.draw(seed).pool[picks]])) for seed, picks in chosen.items()]
            rows.append(["", arm, *mean_cells(means), f"{np.mean(targets):.0f}"])
    head = ["set", "arm", "target's popularity", "target in history", "history", "mean reward", "different targets"]
    return table(head, rows)


def traits(bench: Bench, seed: int) -> dict[str, Any]:
    """Return what is looked at in each sample of a pool, (N,) each."""
    pool = bench.draw(seed).pool
    samples = [bench.dataset.sample(int(row)) for row in pool]
    places = bench.popularity.argsort().argsort() / len(bench.popularity)
    return {
        "popularity": places[[sample.target for sample in samples]],
        "repeated": np.array([sample.target in sample.history for sample in samples], dtype=np.float64),
        "history": np.array([len(sample.history) for sample in samples], dtype=np.float64),
        "reward": scores(bench, seed).of_pool["reward"].mean(axis=1),
    }


def mean_cells(means: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the means over seeds as cells: a quantile, a share, a count and a reward."""
    average = {name: float(np.mean([row[name] for row in means])) for name in means[0]}
    return [
        f"{average['popularity']:.2f}",
        f"{average['repeated']:.1%}",
        f"{average['history']:.1f}",
        f"{average['reward']:.3f}",
    ]


def shown(interval: Interval | None) -> str:
    """Return a gain in thousandths with interval and number of runs, in bold where the interval excludes zero."""
    if interval is None:
        return ""
    text = f"{1000 * interval.mean:+.1f} ({1000 * interval.low:+.1f} to {1000 * interval.high:+.1f}; {interval.runs})"
    return f"**{text}**" if interval.low > 0 or interval.high < 0 else text


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def write_runs(found: Mapping[str, Runs], path: Path) -> None:
    """Write one line per set, arm, seed, budget and part."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, runs in found.items():
            for arm, by_seed in runs.items():
                for seed, run in by_seed.items():
                    for update, halves in run["curve"].items():
                        for part, values in halves.items():
                            writer.writerow([name, arm, seed, update, part, *(values[measure] for measure in MEASURES)])
