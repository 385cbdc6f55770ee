"""A stored dataset gives back what was uploaded, and pools that depend on the seed alone."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from minirec.data.dataset import Dataset, Sample
from minirec.data.ingest import Ingested, ingest
from minirec.data.pool import pool_size
from tests.unit.data.fixture_types import Rows, WriteJsonl

SplitDataset = Callable[[Sequence[str | None]], Dataset]


@pytest.fixture
def stored(tmp_path: Path, write_jsonl: WriteJsonl, samples: Rows, items: Rows) -> Ingested:
    return ingest(write_jsonl("s.jsonl", samples), write_jsonl("i.jsonl", items), tmp_path / "out")


@pytest.fixture
def dataset(stored: Ingested) -> Dataset:
    return Dataset.open(stored.samples_path, stored.items_path)


@pytest.fixture
def split_dataset(tmp_path: Path, write_jsonl: WriteJsonl, items: Rows) -> SplitDataset:
    def build(splits: Sequence[str | None]) -> Dataset:
        rows = [{"id": f"s{i}", "history": ["a"], "target": "b", "split": split} for i, split in enumerate(splits)]
        found = ingest(write_jsonl("s.jsonl", rows), write_jsonl("i.jsonl", items), tmp_path / "splits")
        return Dataset.open(found.samples_path, found.items_path)

    return build


def test_samples_name_items_by_row(dataset: Dataset) -> None:
    assert dataset.sample(0) == Sample(
        id="s1",
        history=(0, 1),
        target=2,
        timestamp=1000.0,
        ratings=(4.5, None),
        history_timestamps=(900.0, None),
        user_id="u1",
        split="train",
    )
    assert dataset.sample(1) == Sample("s2", (2,), 0, None, None, None, None, None)


def test_the_uploaded_rows_come_back(dataset: Dataset, samples: Rows, items: Rows) -> None:
    assert [dataset.sample_json(row) for row in range(2)] == samples
    assert dataset.items == items
    assert dataset.ids == ["s1", "s2"]
    assert (dataset.n_samples, dataset.n_items) == (2, 3)


def test_opens_from_file_objects(stored: Ingested, samples: Rows) -> None:
    files = [io.BytesIO(path.read_bytes()) for path in (stored.samples_path, stored.items_path)]
    assert Dataset.open(*files).sample_json(0) == samples[0]


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_the_dataset_is_an_index_error(dataset: Dataset, row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of a dataset with 2 samples"):
        dataset.sample(row)


def test_the_pool_is_the_train_rows_where_there_are_any(split_dataset: SplitDataset) -> None:
    pool = split_dataset(["test", "train", None, "train"]).pool(split=None, max_samples=None, seed=0)
    assert pool.dtype == np.int64
    assert pool.tolist() == [1, 3]


def test_without_train_rows_the_pool_is_the_rows_without_a_split(split_dataset: SplitDataset) -> None:
    assert split_dataset(["test", None, "valid", None]).pool(split=None, max_samples=None, seed=0).tolist() == [1, 3]


def test_test_and_validation_rows_are_in_no_pool_that_does_not_name_them(split_dataset: SplitDataset) -> None:
    dataset = split_dataset(["test", "valid", "test"])
    assert dataset.pool(split=None, max_samples=None, seed=0).tolist() == []
    assert dataset.pool(split="valid", max_samples=None, seed=0).tolist() == [1]


@pytest.mark.parametrize("seed", range(8))
def test_the_counts_of_the_service_are_the_rows_of_the_worker(split_dataset: SplitDataset, seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.array([None, "train", "valid", "test"], dtype=object))[: draw.integers(1, 5)]
    splits = draw.choice(labels, 12).tolist()
    dataset = split_dataset(splits)
    counts = Counter(split or "none" for split in splits)
    for split in (None, "train", "valid", "test"):
        rows = dataset.pool(split=split, max_samples=None, seed=0)
        assert pool_size(counts, split) == len(rows)
        assert split is not None or {splits[row] for row in rows} <= {None, "train"}


def test_a_named_split_is_taken_even_if_it_is_empty(split_dataset: SplitDataset) -> None:
    dataset = split_dataset(["test", None])
    assert dataset.pool(split="test", max_samples=5, seed=0).tolist() == [0]
    assert dataset.pool(split="train", max_samples=5, seed=0).tolist() == []


def test_a_capped_pool_depends_on_the_seed_alone(split_dataset: SplitDataset) -> None:
    dataset = split_dataset(["train", "test"] * 50)
    pools = [dataset.pool(split=None, max_samples=10, seed=seed) for seed in (1, 1, 2)]
    assert pools[0].tolist() == pools[1].tolist() != pools[2].tolist()
    assert len(set(pools[0].tolist())) == 10
    assert (np.diff(pools[0]) > 0).all()
    assert (pools[0] % 2 == 0).all()
