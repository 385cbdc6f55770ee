"""Train every arm over several seeds and say how well it recommends, and at what cost.

    python -m benchmarks.quality --set movielens [--budget 0.1] [--seeds 5] [--model FOLDER] [--arms "random; MiniRec"]

What is done is kept in the work folder: the same command resumes where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.quality.arms import ARMS, FREE, KNOWN, MEASURED_BY, TRAINED_BY, everything
from benchmarks.quality.costs import Cost
from benchmarks.quality.data import divide, open_set
from benchmarks.quality.pretrain import pretrain
from benchmarks.quality.report import write_report
from benchmarks.quality.runs import Bench, Scoring, kept, measure, start, train_on, unscored
from benchmarks.quality.study import Study
from minirec.data.wheels import cache_dir


def main() -> None:
    given = arguments().parse_args()
    wanted = [name.strip() for name in given.arms.split(";")] if given.arms else list(ARMS)
    unknown = [name for name in wanted if name not in KNOWN]
    if unknown:
        raise SystemExit(f"there is no arm {unknown[0]!r}; there are {'; '.join(KNOWN)}")
    bench = prepare(Study(given.set, budget=given.budget), given.model, given.work)
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in wanted}
    before = start(bench)
    for seed in range(given.seeds):
        for arm in wanted:
            results[arm].append(run_arm(bench, arm, seed) | {"seed": seed})
        so_far = {arm: runs for arm, runs in results.items() if len(runs) == seed + 1}
        print(write_report(before, so_far, given.out), flush=True)


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--set", default="movielens", help="movielens, or a folder with a data set")
    options.add_argument("--model", type=Path, help="folder of a causal LM (default: pre-train a small one)")
    options.add_argument("--budget", type=float, default=0.1, help="part of the pool that an arm trains on")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--arms", help="some of the arms, separated by semicolons (default: those of the table)")
    options.add_argument("--work", type=Path, default=cache_dir() / "quality", help="where everything is kept")
    options.add_argument("--out", type=Path, default=Path("quality-output"), help="table, numbers and plots")
    return options


def prepare(study: Study, model: Path | None, work: Path) -> Bench:
    """Data and model of a study; what is missing is made."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    key = hashlib.sha256(str(study.name).encode()).hexdigest()[:6]
    folder = work / f"{Path(study.name).name}-{key}"
    dataset = open_set(study.name, folder / "data")
    parts = divide(dataset, pool=study.pool, valid=study.valid, test=study.test)
    say(f"{len(parts.pool)} samples in the pool, {len(parts.past):,} before it, {len(dataset.items):,} items")
    if model is None:
        model = folder / f"model-{study.pool}-{study.pretraining_steps}"
        if not model.exists():
            past = [dataset.sample(int(row)) for row in parts.past]
            made = pretrain(
                model.with_name(f".{model.name}"),
                items=dataset.items,
                past=past,
                window=study.rollouts(0).window,
                steps=study.pretraining_steps,
                say=say,
            )
            made.rename(model)
    return Bench(
        study, dataset, parts, model, folder / f"study-{study.fingerprint('budget', 'name')}-{model.name}", say
    )


def run_arm(bench: Bench, arm: str, seed: int) -> dict[str, Any]:
    """One arm under one seed: choose, train, rank; what it cost includes proxy, scoring and choice."""

    def run() -> dict[str, Any]:
        measured, selection = unscored(bench), Cost()
        if arm not in FREE:
            measured, selection = measure(bench, seed, MEASURED_BY.get(arm, Scoring()))
        with selection.timed():
            rows = measured.rows[KNOWN[arm](measured, bench.study.size, seed)].tolist()
        done = train_on(bench, rows, seed, **TRAINED_BY.get(arm, {}))
        total = selection + Cost(**done["cost"])
        picks = [bench.dataset.ids[row] for row in rows]
        bench.say(f"seed {seed}, {arm}: NDCG@10 {done['test']['ndcg']['10']:.4f}, {done['updates']} updates")
        return done | {"cost": asdict(total), "selection_cost": asdict(selection), "picks": picks}

    budget = "" if KNOWN[arm] is everything else f"-{bench.study.size}"
    return kept(bench.folder / f"seed-{seed}" / f"{arm.replace(' ', '-').replace(',', '')}{budget}.json", run)


if __name__ == "__main__":
    main()
