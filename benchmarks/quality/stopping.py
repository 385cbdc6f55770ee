"""What rules for stopping cost against the best fixed number of updates.

    python -m benchmarks.quality.stopping [--sets "movielens; FOLDER"] [--seeds 5]

Runs on random subsets go on to the end and are evaluated on the way; every rule is then applied to the same curves. A
rule keeps the adapter that was best on the validation samples before it stops; how good that one is on the test samples
is what counts. The fixed number of updates is the best one over all runs of a set, which nobody knows beforehand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.quality.__main__ import parts
from benchmarks.quality.arms import Case, at_random
from benchmarks.quality.intervals import over_runs
from benchmarks.quality.prepare import prepare
from benchmarks.quality.report import shown, table
from benchmarks.quality.runs import Bench, kept, train_on
from benchmarks.quality.study import Study
from minirec.data.wheels import cache_dir

STUDY: Final = replace(Study(), valid=256, updates=160, every=16)
SCHEDULES: Final = ("linear", "constant")
MIN_DELTA: Final = 1e-4

Curve = Mapping[int, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Rule:
    """Keep the best on validation by a measure; stop after so many evaluations without a rise, or never."""

    measure: str
    patience: int | None

    def __str__(self) -> str:
        name = {"ndcg10": "NDCG@10", "ndcg": "NDCG"}[self.measure]
        return f"{name}, " + ("to the end" if self.patience is None else f"patience {self.patience}")

    def apply(self, curve: Curve) -> tuple[int, int]:
        """Return the update whose adapter is kept, and the one after which training stops."""
        best, best_score, since, update = 0, -np.inf, 0, 0
        for update, halves in sorted(curve.items()):
            score = halves["valid"][self.measure]
            if score > best_score + MIN_DELTA:
                best, best_score, since = update, score, 0
            else:
                since += 1
            if self.patience is not None and since >= self.patience:
                break
        return best, update


RULES: Final = [Rule(measure, patience) for measure in ("ndcg10", "ndcg") for patience in (2, 3, 5, None)]


def main() -> None:
    """Run what is missing, and print the tables."""
    given = arguments().parse_args()
    benches = [prepare(STUDY, name, given.work, lambda line: print(line, flush=True)) for name in parts(given.sets)]
    for seed in range(given.seeds):
        for bench in benches:
            for schedule in SCHEDULES:
                curve_of(bench, seed, schedule)
    for schedule in SCHEDULES:
        curves = {bench.name: [curve_of(bench, seed, schedule) for seed in range(given.seeds)] for bench in benches}
        print(f"\nlearning rate {schedule}\n\n{table(['rule', *curves, 'updates'], rows(curves))}", flush=True)


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sets", default="movielens", help="as of benchmarks.quality")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--work", type=Path, default=cache_dir() / "quality", help="where everything is kept")
    return options


def curve_of(bench: Bench, seed: int, schedule: str) -> Curve:
    """Train one run to the end, or read it; return what was measured after each number of updates."""
    case = Case(bench, seed)
    picks = case.pool[at_random(case)].tolist()

    def run() -> dict[str, Any]:
        start = train_on(bench, picks, seed, updates=0)
        done = train_on(bench, picks, seed, learning_rate_schedule=schedule)
        print(f"{bench.name} seed {seed} {schedule}: {done['seconds']:.0f} s", flush=True)
        return {"curve": start["curve"] | done["curve"]}

    found = kept(bench.folder / f"seed-{seed}" / f"stopping-{schedule}.json", run)
    return {int(update): halves for update, halves in found["curve"].items()}


def rows(curves: Mapping[str, Sequence[Curve]]) -> Iterator[list[object]]:
    """Yield a row per rule: loss in NDCG on the test samples against the best fixed number of updates, by set."""
    fixed = {name: best_fixed(runs) for name, runs in curves.items()}
    start = {name: means(runs)[0] for name, runs in curves.items()}
    yield [
        "best fixed number",
        *(f"{1000 * (at[1] - start[name]):+.1f} after {at[0]}" for name, at in fixed.items()),
        "",
    ]
    for rule in RULES:
        cells, spent = [], []
        for name, runs in curves.items():
            losses = []
            for curve in runs:
                best, stopped = rule.apply(curve)
                losses.append(curve[best]["test"]["ndcg"] - curve[fixed[name][0]]["test"]["ndcg"])
                spent.append(stopped)
            cells.append(shown(over_runs(losses)))
        yield [str(rule), *cells, f"{np.mean(spent):.0f}"]
    last = max(next(iter(curves.values()))[0])
    at_end = [
        [run[last]["test"]["ndcg"] - run[fixed[name][0]]["test"]["ndcg"] for run in runs]
        for name, runs in curves.items()
    ]
    yield ["no validation: the last", *(shown(over_runs(values)) for values in at_end), last]


def best_fixed(runs: Sequence[Curve]) -> tuple[int, float]:
    """Return the number of updates after which the mean NDCG on the test samples is largest, and that mean."""
    found = means(runs)
    best = max(found, key=lambda update: found[update])
    return best, found[best]


def means(runs: Sequence[Curve]) -> dict[int, float]:
    """Return the mean NDCG on the test samples after each number of updates."""
    return {update: float(np.mean([run[update]["test"]["ndcg"] for run in runs])) for update in runs[0]}


if __name__ == "__main__":
    main()
