"""The results of a study as tables, one flat file of numbers, and plots."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.intervals import Bootstrap, FloatArray, Interval, ndcg_of

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Runs by arm, in the order of the seeds."""
WIDE = 1000
"""Cutoff of a second NDCG that sees more than the first ranks."""
FULL, RANDOM = "full data", "random"
COUNTS = ("updates", "best_update", "dead_groups")
COLUMNS = ("arm", "seed", "ndcg5", "ndcg10", "ndcg20", "ndcg1000", "hr10", *COUNTS, "rollouts", "tokens", "seconds")


def write_report(start: Mapping[str, Any], results: Results, out: Path) -> str:
    """Write table, numbers and plots into `out`, and return the table."""
    out.mkdir(parents=True, exist_ok=True)
    table = quality_table(start, results)
    (out / "table.md").write_text(table)
    write_runs(results, out / "runs.csv")
    write_curves(results, out / "curves.json")
    plot_costs(results, out / "costs.png")
    plot_curves(results, out / "curves.png")
    return table


def quality_table(start: Mapping[str, Any], results: Results) -> str:
    """One line per arm: quality with its interval, against full data and random, and what it cost."""
    ndcg = {arm: per_sample(runs) for arm, runs in results.items()}
    wide = {arm: per_sample(runs, WIDE) for arm, runs in results.items()}
    boot = Bootstrap(*next(iter(ndcg.values())).shape)
    lines = [
        "| arm | NDCG@10 | of full data | against random | HR@10 | NDCG@1000 | NDCG@1000 against random | updates "
        "| rollouts | tokens (M) | seconds | seconds, of full data |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    before = start["test"]
    whole = ndcg_of(before["ranks"], WIDE).mean()
    shown_before = f"{before['ndcg']['10']:.4f} | | | {before['hr']['10']:.3f} | {whole:.4f}"
    lines.append(f"| no training | {shown_before} | | 0 | 0 | 0 | 0 | |")
    for arm, runs in results.items():
        costs = [run["cost"] for run in runs]
        seconds = average(costs, "seconds")
        cells = [
            arm,
            shown(boot.mean(ndcg[arm]), "{:.4f}"),
            shown(boot.ratio(ndcg[arm], ndcg[FULL]), "{:.0%}") if FULL in ndcg and arm != FULL else "",
            against_random(boot, arm, ndcg),
            f"{np.mean([run['test']['hr']['10'] for run in runs]):.3f}",
            shown(boot.mean(wide[arm]), "{:.4f}"),
            against_random(boot, arm, wide),
            f"{np.mean([run['updates'] for run in runs]):.0f}",
            f"{average(costs, 'rollouts'):,.0f}",
            f"{average(costs, 'tokens') / 1e6:.2f}",
            f"{seconds:.0f}",
            f"{seconds / average([run['cost'] for run in results[FULL]], 'seconds'):.0%}" if FULL in results else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def against_random(boot: Bootstrap, arm: str, values: Mapping[str, FloatArray]) -> str:
    """How much better an arm is than the random one, where there is one."""
    if arm == RANDOM or RANDOM not in values:
        return ""
    return shown(boot.difference(values[arm], values[RANDOM]), "{:+.4f}")


def per_sample(runs: Sequence[Mapping[str, Any]], k: int = 10) -> FloatArray:
    """NDCG@k of every seed and test sample, (seeds, samples)."""
    return np.stack([ndcg_of(run["test"]["ranks"], k) for run in runs])


def average(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def shown(interval: Interval, form: str) -> str:
    return f"{form.format(interval.mean)} ({form.format(interval.low)} to {form.format(interval.high)})"


def write_runs(results: Results, path: Path) -> None:
    """One line per arm and seed."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for arm, runs in results.items():
            for run in runs:
                ndcg, hr, cost = run["test"]["ndcg"], run["test"]["hr"], run["cost"]
                wide = float(ndcg_of(run["test"]["ranks"], WIDE).mean())
                quality = [f"{value:.6f}" for value in (ndcg["5"], ndcg["10"], ndcg["20"], wide, hr["10"])]
                counts = [run[name] for name in COUNTS]
                writer.writerow(
                    [arm, run["seed"], *quality, *counts, cost["rollouts"], cost["tokens"], f"{cost['seconds']:.1f}"]
                )


def write_curves(results: Results, path: Path) -> None:
    """Validation NDCG@10 by update of every run."""
    curves = {
        arm: [[[entry["update"], round(entry["ndcg10"], 5)] for entry in run["valid"]] for run in runs]
        for arm, runs in results.items()
    }
    path.write_text(json.dumps(curves, indent=None) + "\n")


def plot_of(arms: int) -> tuple[Any, Any]:
    """An empty figure with a colour for every arm."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=[colormaps["turbo"](place / max(1, arms - 1)) for place in range(arms)])
    return figure, axes


def plot_costs(results: Results, path: Path) -> None:
    """Quality against rollouts, selection included; bars are the seeds' standard errors."""
    figure, axes = plot_of(len(results))
    for arm, runs in results.items():
        quality = [run["test"]["ndcg"]["10"] for run in runs]
        rollouts = average([run["cost"] for run in runs], "rollouts")
        error = float(np.std(quality, ddof=1) / np.sqrt(len(quality))) if len(quality) > 1 else 0.0
        axes.errorbar([rollouts], [float(np.mean(quality))], yerr=[error], fmt="o", capsize=2, label=arm)
    axes.set(xlabel="rollouts, selection included", ylabel="test NDCG@10", xscale="log")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110)


def plot_curves(results: Results, path: Path) -> None:
    """Validation NDCG@10 by update: mean over the seeds still training."""
    figure, axes = plot_of(len(results))
    for arm, runs in results.items():
        at: dict[int, list[float]] = {}
        for run in runs:
            for entry in run["valid"]:
                at.setdefault(entry["update"], []).append(entry["ndcg10"])
        whole = {update: values for update, values in sorted(at.items()) if 2 * len(values) > len(runs)}
        axes.plot(list(whole), [float(np.mean(values)) for values in whole.values()], marker=".", label=arm)
    axes.set(xlabel="updates", ylabel="validation NDCG@10")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110)
