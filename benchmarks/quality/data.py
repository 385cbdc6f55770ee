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


@dataclass(frozen=True)
class Parts:
    """Row numbers of a dataset; no row is in two of them."""

    past: Rows
    """Training samples outside the pool: the model is pre-trained on these, never on others."""
    pool: Rows
    """Training samples that arms choose from."""
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
    """The two files of the one set in a folder."""
    samples, items = (sorted(folder.glob(f"*{part}.jsonl.gz")) for part in ("samples", "items"))
    if len(samples) != 1 or len(items) != 1:
        raise FileNotFoundError(f"{folder} must hold one *samples.jsonl.gz and one *items.jsonl.gz")
    return DataFiles(samples[0], items[0])


def divide(dataset: Dataset, *, pool: int, valid: int, test: int | None, seed: int = 0) -> Parts:
    """A random pool out of the training split and random parts of the other two, the same for the same seed."""
    train = dataset.pool(split="train", max_samples=None, seed=seed)
    chosen = dataset.pool(split="train", max_samples=pool, seed=seed)
    return Parts(
        past=np.setdiff1d(train, chosen),
        pool=chosen,
        valid=dataset.pool(split="valid", max_samples=valid, seed=seed),
        test=dataset.pool(split="test", max_samples=test, seed=seed),
    )
