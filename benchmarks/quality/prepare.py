"""Data and model of a study on one set; what is missing is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.quality.runs import Bench
from benchmarks.quality.sets import divide, open_set
from benchmarks.quality.study import Study
from minirec.policy.smollm2 import fetch_smollm2
from minirec.training.pretrain import TAU, pretrain


def prepare(study: Study, name: str, work: Path, say: Callable[[str], None]) -> Bench:
    """Open a set and pre-train its model, or find both where they were made before."""
    key = hashlib.sha256(name.encode()).hexdigest()[:6]
    short = Path(name).name
    folder = work / f"{short}-{key}"
    dataset = open_set(name, folder / "data")
    parts = divide(dataset)
    say(
        f"{short}: {len(dataset.items):,} items, {len(parts.past):,} past samples, {len(parts.reservoir):,} to draw "
        "pools from"
    )
    if study.model:
        return Bench(study, short, dataset, parts, fetch_smollm2(work / "models"), folder / study.short_name)
    model = folder / f"model-{study.hidden}-{study.pretraining_steps}-{int(TAU * 100)}"
    if not model.exists():
        made = pretrain(
            model.with_name(f".{model.name}"),
            items=dataset.items,
            past=[dataset.sample(int(row)) for row in parts.past],
            window=study.rollouts(0, len(dataset.items)).window,
            steps=study.pretraining_steps,
            hidden=study.hidden,
            say=say,
        )
        made.rename(model)
    return Bench(study, short, dataset, parts, model, folder / study.short_name)
