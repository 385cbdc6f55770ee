"""What a selection's result says beforehand: the numbers of minirec/selection/outlook.py, from the study's runs.

    python -m benchmarks.quality.outlook --sets "movielens; FOLDER" [--seeds 10]

By how much of the pool the gate sets aside: the difference between policies trained on MiniRec's picks and on random
ones (NDCG over the full rank), and the share of their groups of rollouts that had no signal. Nothing is trained here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.quality.__main__ import parts
from benchmarks.quality.arms import REGIMES, Case, hits_in
from benchmarks.quality.intervals import quantile
from benchmarks.quality.prepare import prepare
from benchmarks.quality.report import last, load_runs, table
from benchmarks.quality.runs import Bench
from benchmarks.quality.study import Study
from minirec.data.wheels import cache_dir
from minirec.selection.outlook import BOUNDS

ARM: Final = "MiniRec"


def main() -> None:
    """Print the table."""
    given = arguments().parse_args()
    benches = [prepare(Study(), name, given.work, print) for name in parts(given.sets)]
    found = [pair for bench in benches for end, share in REGIMES.items() for pair in pairs(bench, end, share)]
    rows = []
    for low, high in zip((0.0, *BOUNDS), (*BOUNDS, 1.01), strict=True):
        within = [pair for pair in found if low <= pair["gated"] < high]
        if within:
            rows.append([f"{low:.0%} to {min(high, 1):.0%}", *summary(within)])
    print(table(["gated", "gain", "low", "high", "sets", "runs", "random without signal", "ours"], rows))


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sets", default="movielens", help="as of benchmarks.quality")
    options.add_argument("--work", type=Path, default=cache_dir() / "quality", help="where the runs are")
    return options


def pairs(bench: Bench, end: str, share: float) -> list[dict[str, Any]]:
    """Return what came out of each pair of runs of a set, with one K."""
    runs, updates = load_runs(bench), str(bench.study.updates)
    ours, random = runs.get(f"{ARM}{end}", {}), runs.get(f"random{end}", {})
    groups = bench.study.updates * bench.study.grpo(0).batch_size
    return [
        {
            "set": bench.name,
            "gated": float(1 - hits_in(Case(bench, seed), share).mean()),
            "gain": last(ours[seed], updates, "ndcg") - last(random[seed], updates, "ndcg"),
            "random": random[seed]["dead_groups"] / groups,
            "ours": ours[seed]["dead_groups"] / groups,
        }
        for seed in sorted(set(ours) & set(random))
    ]


def summary(found: Sequence[dict[str, Any]]) -> list[object]:
    """Return mean gain over sets, where the mean of another set lies with 95 % probability, and the waste of both."""
    names = sorted({pair["set"] for pair in found})
    means = np.array([np.mean([pair["gain"] for pair in found if pair["set"] == name]) for name in names])
    mean = float(means.mean())
    half = quantile(len(means)) * float(means.std(ddof=1)) * (1 + 1 / len(means)) ** 0.5 if len(means) > 1 else np.nan
    waste = (f"{np.mean([pair[arm] for pair in found]):.0%}" for arm in ("random", "ours"))
    return [f"{mean:+.4f}", f"{mean - half:+.4f}", f"{mean + half:+.4f}", len(names), len(found), *waste]


if __name__ == "__main__":
    main()
