"""A synthetic catalogue in which it is known what every sample of the pool is worth.

Users like one of a few genres, and the model is pre-trained on a past in which they stay with it. Since then something
has changed: whatever they liked, users now choose the season's new items, as all test samples do. The pool holds

- `learnable` samples, which follow the new habit;
- `known` samples, which follow the old one: the model ranks their targets high already;
- `noisy` samples, whose targets are drawn from the whole catalogue: there is nothing behind them;
- `dead` samples, whose targets are of a genre that the user never chose: hardly any rollout finds them.

A selection that is worth anything takes learnable samples, and a policy that is trained on them recommends far better
than one that is trained on as many random ones.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.quality.runs import Bench
from benchmarks.quality.sets import Parts, open_set
from benchmarks.quality.study import Study
from minirec.training.pretrain import pretrain

GENRES, PER_GENRE, SEASON, OBSCURE = 12, 8, 12, 12
HISTORY: Final = 3
SHARES: Final = {"learnable": 0.25, "known": 0.2, "noisy": 0.2, "dead": 0.35}
"""Of the pool."""
SEASON_START: Final = GENRES * PER_GENRE
OBSCURE_START: Final = SEASON_START + SEASON
ITEMS: Final = OBSCURE_START + OBSCURE


def write_planted(folder: Path, *, past: int, pool: int, held_out: int, seed: int = 0) -> Path:
    """Write the set as an upload takes it; a sample's id starts with what it is. Return the folder."""
    draw = random.Random(seed)
    kinds = {f"past-{number}": "known" for number in range(past)}
    for kind, share in SHARES.items():
        kinds |= {f"{kind}-{number}": kind for number in range(round(share * pool))}
    samples = [_sample(draw, name, kind, "train") for name, kind in kinds.items()]
    for split in ("valid", "test"):
        samples += [_sample(draw, f"{split}-{number}", "learnable", split) for number in range(held_out)]
    items = [{"item_id": str(row), "title": _title(row)} for row in range(ITEMS)]
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("samples", samples), ("items", items)):
        with gzip.open(folder / f"planted.{part}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def prepare_planted(folder: Path, study: Study, *, past: int = 1200) -> Bench:
    """Make the set and a model that knows its past."""
    files = write_planted(folder / "set", past=past, pool=study.pool, held_out=study.test)
    dataset = open_set(str(files), folder / "data")
    names = np.array(dataset.ids)
    rows = np.arange(len(names))
    starts = np.array([name.split("-")[0] for name in names])
    parts = Parts(
        past=rows[starts == "past"],
        reservoir=rows[np.isin(starts, list(SHARES))],
        valid=rows[starts == "valid"],
        test=rows[starts == "test"],
    )
    model = pretrain(
        folder / "model",
        items=dataset.items,
        past=[dataset.sample(int(row)) for row in parts.past],
        window=HISTORY,
        steps=study.pretraining_steps,
        hidden=study.hidden,
        say=lambda _line: None,
    )
    return Bench(study, "planted", dataset, parts, model, folder / "study")


def kinds_of(bench: Bench, rows: Any) -> list[str]:
    """Return what these samples are."""
    ids = bench.dataset.ids
    return [ids[int(row)].split("-")[0] for row in rows]


def _sample(draw: random.Random, name: str, kind: str, split: str) -> dict[str, Any]:
    genre = draw.randrange(GENRES)
    own = range(genre * PER_GENRE, (genre + 1) * PER_GENRE)
    history = draw.sample(own, HISTORY)
    if kind == "learnable":
        target = draw.randrange(SEASON_START, OBSCURE_START)
    elif kind == "known":
        target = draw.choice([item for item in own if item not in history])
    elif kind == "noisy":
        target = draw.randrange(ITEMS)
    else:
        target = draw.choice([item for item in range(SEASON_START) if item not in own])
    return {
        "id": name,
        "user_id": name,
        "history": [str(item) for item in history],
        "target": str(target),
        "split": split,
    }


def _title(row: int) -> str:
    if row < SEASON_START:
        return f"Volume {row % PER_GENRE + 1} of genre {row // PER_GENRE + 1}"
    return f"Season's item {row}" if row < OBSCURE_START else f"Obscure item {row}"
