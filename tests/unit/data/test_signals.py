"""Uploaded signals: brought into dataset order, and every fault named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from minirec.data.rows import DatasetError
from minirec.data.signals import SignalFiles, read_signals

IDS = ["a", "b", "c", "d"]
ROWS: list[dict[str, Any]] = [
    {"sample_id": "c", "reward": [0.1, 0.2], "ndcg": [0.0, 0.3]},
    {"sample_id": "a", "reward": [0.5, 0.0], "ndcg": [0.4, 0.0]},
]


def write(folder: Path, rows: list[dict[str, Any]] = ROWS, **others: Path) -> SignalFiles:
    path = folder / "rewards.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {"rewards": path, **others}
    return SignalFiles(paths, {part: file.name for part, file in paths.items()})


def test_rewards_are_brought_into_dataset_order(tmp_path: Path) -> None:
    signals = read_signals(write(tmp_path), IDS)
    assert signals["rows"].tolist() == [0, 2]
    assert signals["rewards"].tolist() == [[0.5, 0.0], [0.1, 0.2]]
    assert signals["hits"].tolist() == [[1, 0], [0, 1]]


def test_parquet_says_the_same_as_jsonl(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rewards.parquet")
    files = SignalFiles({"rewards": tmp_path / "rewards.parquet"}, {"rewards": "rewards.parquet"})
    from_parquet, from_jsonl = read_signals(files, IDS), read_signals(write(tmp_path), IDS)
    for name, values in from_jsonl.items():
        np.testing.assert_array_equal(from_parquet[name], values)


def test_arrays_follow_the_rewards_file_or_their_ids(tmp_path: Path) -> None:
    vectors = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)  # of c and a
    np.save(tmp_path / "vectors.npy", vectors)
    signals = read_signals(write(tmp_path, vectors=tmp_path / "vectors.npy"), IDS)
    np.testing.assert_array_equal(signals["vectors"], vectors[::-1])

    save_file({"embeddings": np.eye(3, 5, dtype=np.float32)}, tmp_path / "e.safetensors")
    (tmp_path / "ids.txt").write_text("d\na\nc\n")
    files = write(tmp_path, embeddings=tmp_path / "e.safetensors", ids=tmp_path / "ids.txt")
    np.testing.assert_array_equal(read_signals(files, IDS)["embeddings"], np.eye(3, 5)[[1, 2]])


def change(row: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[row].update(fields)


@pytest.mark.parametrize(
    ("spoil", "line", "field", "says"),
    [
        (change(1, sample_id="c"), 2, "sample_id", "line 1 already"),
        (change(1, sample_id="x"), 2, "sample_id", "no sample"),
        (change(1, reward=[0.5], ndcg=None), 2, "reward", "has 1 rewards"),
        (change(0, reward=[0.1, float("nan")]), 1, "reward[1]", "finite"),
        (change(0, reward=[]), 1, "reward", "empty"),
        (change(0, reward="high"), 1, "reward", "must be a list"),
        (change(0, ndcg=[0.1]), 1, None, "ndcg has 1 values for 2 rewards"),
        (change(0, ndcg=None), None, "hit", "all must, or none"),
    ],
)
def test_every_fault_is_named(tmp_path: Path, spoil: Any, line: int | None, field: str | None, says: str) -> None:
    rows = json.loads(json.dumps(ROWS))
    spoil(rows)
    with pytest.raises(DatasetError) as caught:
        read_signals(write(tmp_path, rows), IDS)
    error = caught.value.errors[0]
    assert (error.file, error.line, error.field) == ("rewards.jsonl", line, field)
    assert says in error.msg


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 2), np.float32), "3 rows for 2 ids"),
        (np.zeros(2, np.float32), "one row per sample"),
        (np.zeros((2, 2), np.int64), "table of floats"),
        (np.array([[0, np.inf], [0, 0]], np.float32), '"c" holds NaN or infinity'),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: Any, says: str) -> None:
    np.save(tmp_path / "vectors.npy", array)
    with pytest.raises(DatasetError, match=says):
        read_signals(write(tmp_path, vectors=tmp_path / "vectors.npy"), IDS)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.array([[{}], [{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read as npy"):
        read_signals(write(tmp_path, vectors=tmp_path / "vectors.npy"), IDS)


def test_the_published_rewards_are_read_as_they_are(tmp_path: Path, shared: Path) -> None:
    path = shared / "golden" / "rewards.jsonl.gz"
    signals = read_signals(SignalFiles({"rewards": path}, {"rewards": path.name}), [str(n) for n in range(10_748)])
    assert signals["rewards"].shape == (10_748, 4)
    assert signals["hits"].any(axis=1).mean() == pytest.approx(0.4, abs=0.35)
