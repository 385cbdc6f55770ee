"""Train every arm over several seeds and sets, and say how well it recommends against a random choice.

    python -m benchmarks.quality [--sets "movielens; FOLDER"] [--seeds 10] [--arms "random; MiniRec"]

What is done is kept in the work folder: the same command resumes where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.quality.arms import ARMS, KNOWN, Case, trained_by
from benchmarks.quality.prepare import prepare
from benchmarks.quality.report import START, file_name, write_report
from benchmarks.quality.runs import Bench, kept, train_on
from benchmarks.quality.study import SMOLLM2, Study
from minirec.data.wheels import cache_dir


def main() -> None:
    """Run what is missing, seed by seed over all sets, and write the report after each seed."""
    given = arguments().parse_args()
    names = parts(given.arms) or list(ARMS)
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise SystemExit(f"there is no arm {unknown[0]!r}; there are {'; '.join(KNOWN)}")
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    study = SMOLLM2 if given.model == "smollm2" else Study()
    if given.learning_rate is not None:
        study = replace(study, learning_rate=given.learning_rate)
    benches = [prepare(study, name, given.work, say) for name in parts(given.sets)]
    for seed in range(given.first_seed, given.seeds):
        for bench in benches:
            run_seed(bench, seed, names)
    print(write_report(benches, given.out), flush=True)


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--sets", default="movielens", help="movielens, or folders with a data set; semicolons between"
    )
    options.add_argument(
        "--model",
        choices=("small", "smollm2"),
        default="small",
        help="small: one that is pre-trained here, for a CPU; smollm2: SmolLM2-135M-Instruct as it is, for a GPU",
    )
    options.add_argument("--learning-rate", type=float, help="of the training that arms are compared by")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--arms", default="", help="some of the arms, separated by semicolons (default: all)")
    options.add_argument("--work", type=Path, default=cache_dir() / "quality", help="where everything is kept")
    options.add_argument("--out", type=Path, default=Path("quality-output"), help="tables and numbers")
    return options


def parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def run_seed(bench: Bench, seed: int, arms: Sequence[str]) -> None:
    """Run the start and the arms of one seed, those that are not there yet."""
    start_path = bench.folder / f"seed-{seed}" / f"{file_name(START)}.json"
    start = kept(start_path, lambda: train_on(bench, bench.draw(seed).pool[:8].tolist(), seed, updates=0))
    before = start["curve"]["0"]["test"]["ndcg"]
    case = Case(bench, seed)
    for arm in arms:

        def run(arm: str = arm) -> dict[str, object]:
            picks = KNOWN[arm](case)
            done = train_on(bench, case.pool[picks].tolist(), seed, **trained_by(arm))
            last = done["curve"][str(bench.study.updates)]["test"]["ndcg"]
            print(
                f"{bench.name} seed {seed} {arm}: NDCG {last:.4f} from {before:.4f}, {done['seconds']:.0f} s",
                flush=True,
            )
            return done | {"picks": picks.tolist() if len(picks) <= bench.study.size else []}

        kept(bench.folder / f"seed-{seed}" / f"{file_name(arm)}.json", run)


if __name__ == "__main__":
    main()
