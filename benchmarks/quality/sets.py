"""Real interactions, and which of them play which part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minirec.data.dataset import Dataset
from minirec.data.ingest import ingest
from minirec.data.movielens import DataFiles, fetch_movielens

Rows = npt.NDArray[np.int64]

RESERVOIR: int = 4000
"""Training samples that pools are drawn from; where there are few, `RESERVOIR_SHARE` of them."""
RESERVOIR_SHARE: float = 0.6


@dataclass(frozen=True)
class Parts:
    """Row numbers of a dataset; no row is in two of them."""

    past: Rows
    """Training samples outside the reservoir: the model is pre-trained on these, never on others."""
    reservoir: Rows
    """Training samples that a run's pool is drawn from."""
    valid: Rows
    test: Rows


@dataclass(frozen=True)
class Draw:
    """What one run sees of a set: rows drawn with its seed."""

    pool: Rows
    valid: Rows
    test: Rows


def open_set(name: str, folder: Path) -> Dataset:
    """Open `movielens`, or the one set in a folder as `*.samples.jsonl.gz` and `*.items.jsonl.gz`.

    The checked tables are kept in `folder`. Raises FileNotFoundError for a folder without exactly one set.
    """
    if not (folder / "samples.parquet").exists():
        files = fetch_movielens() if name == "movielens" else find_set(Path(name))
        ingest(files.samples, files.items, folder)
    return Dataset.open(folder / "samples.parquet", folder / "items.parquet")


def find_set(folder: Path) -> DataFiles:
    """Return the two files of the one set in a folder."""
    samples, items = (sorted(folder.glob(f"*{part}.jsonl.gz")) for part in ("samples", "items"))
    if len(samples) != 1 or len(items) != 1:
        raise FileNotFoundError(f"{folder} must hold one *samples.jsonl.gz and one *items.jsonl.gz")
    return DataFiles(samples[0], items[0])


def divide(dataset: Dataset) -> Parts:
    """Cut the training split into past and reservoir at random, the same way every time."""
    train = dataset.pool(split="train", max_samples=None, seed=0)
    size = min(RESERVOIR, round(RESERVOIR_SHARE * len(train)))
    reservoir = dataset.pool(split="train", max_samples=size, seed=0)
    return Parts(
        past=np.setdiff1d(train, reservoir),
        reservoir=reservoir,
        valid=dataset.pool(split="valid", max_samples=None, seed=0),
        test=dataset.pool(split="test", max_samples=None, seed=0),
    )


def draw(parts: Parts, seed: int, *, pool: int, valid: int, test: int) -> Draw:
    """Draw the rows of one run, each part without replacement and in the order of the dataset."""
    generator = np.random.default_rng([seed, 2])
    sizes = ((parts.reservoir, pool), (parts.valid, valid), (parts.test, test))
    return Draw(*(np.sort(generator.permutation(rows)[:size]) for rows, size in sizes))
