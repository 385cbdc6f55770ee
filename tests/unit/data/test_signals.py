"""Uploaded signals: brought into dataset order, and every fault named."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from minirec.data.arrays import NORMS
from minirec.data.faults import DatasetError
from minirec.data.signals import SignalFiles
from minirec.data.signals import read_signals as write_signals
from minirec.selection import lazy_greedy

IDS = ["a", "b", "c", "d"]
ROWS: list[dict[str, Any]] = [
    {"sample_id": "c", "reward": [0.1, 0.2], "ndcg": [0.0, 0.3]},
    {"sample_id": "a", "reward": [0.5, 0.0], "ndcg": [0.4, 0.0]},
]


def read_signals(files: SignalFiles, ids: list[str] = IDS) -> dict[str, np.ndarray[Any, Any]]:
    """Return what an upload becomes; the description of it has to agree."""
    out = files.paths["rewards"].parent / "signals.safetensors"
    stored = write_signals(files, ids, out)
    arrays = load_file(out)
    assert (stored.n_samples, stored.rollouts) == arrays["rewards"].shape
    assert stored.has_hits == ("hits" in arrays)
    for part, size in (("vectors", stored.vector_size), ("embeddings", stored.embedding_size)):
        assert size == (arrays[part].shape[1] if part in arrays else None)
    return arrays


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


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_integer_ids_are_read_in_both_formats(tmp_path: Path, suffix: str) -> None:
    rows = [{"sample_id": 7, "reward": [0, 1]}, {"sample_id": 5, "reward": [1, 1]}]
    files = write(tmp_path, rows)
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), files.paths["rewards"])
    assert read_signals(files, ["5", "6", "7"])["rewards"].tolist() == [[1, 1], [0, 1]]


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
        (change(0, reward=[True, False]), 1, "reward[0]", "must be a number (0 or 1 for a truth value), got true"),
        (change(0, reward=[0.5] * 1001, ndcg=None), 1, "reward", "has 1001 values; at most 1000 are read"),
        (change(0, reward=[0.1, None]), 1, "reward[1]", "must be a number"),
        (change(0, reward=[0.1, 1e400]), 1, "reward[1]", "finite"),
        (change(0, reward=[]), 1, "reward", "empty"),
        (change(0, reward="high"), 1, "reward", 'must be a list with one number per rollout, got "high"'),
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
        (np.zeros(2, np.float32), "is float32 .2.; expected a table with one row of floats per sample"),
        (np.zeros((2, 0), np.float32), "expected a table"),
        (np.zeros((2, 2, 2), np.float32), "expected a table"),
        (np.zeros((2, 2), np.int64), "is int64 .2, 2.; expected float16, bfloat16, float32 or float64"),
        (np.array([[0, np.inf], [0, 0]], np.float32), 'v.npy:1: the row of sample "c" holds NaN or infinity'),
        (np.array([[0, 0], [1e300, 0]]), 'v.npy:2: the row of sample "a" has values beyond float32'),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: Any, says: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(DatasetError, match=says):
        read_signals(write(tmp_path, vectors=tmp_path / "v.npy"), IDS)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([0, 0], 'e.npy:2: the row of sample "a" is all zeros and has no direction'),
        ([-0.0, 0], "is all zeros"),
        ([1e-30, 0], 'the row of sample "a" has a norm outside 1e-18 to 1e.18'),
        ([1e25, 1], "has a norm outside"),
    ],
)
def test_embeddings_need_a_direction_and_vectors_may_be_zero(tmp_path: Path, row: list[float], says: str) -> None:
    np.save(tmp_path / "e.npy", np.array([[1, 0], row], np.float32))
    with pytest.raises(DatasetError, match=says):
        read_signals(write(tmp_path, embeddings=tmp_path / "e.npy"))
    assert len(read_signals(write(tmp_path, vectors=tmp_path / "e.npy"))["vectors"]) == 2


def test_the_bounds_of_a_norm_are_those_of_the_selection() -> None:
    assert NORMS == lazy_greedy.NORMS


def test_a_row_that_no_reward_belongs_to_may_be_anything(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.array([[0, 0], [1, 0], [0, 1]], np.float32))
    (tmp_path / "ids.txt").write_text("stranger\na\nc\n")
    files = write(tmp_path, embeddings=tmp_path / "e.npy", ids=tmp_path / "ids.txt")
    assert read_signals(files)["embeddings"].tolist() == [[1, 0], [0, 1]]


def test_all_rows_wrong_in_one_way_are_one_fault(tmp_path: Path) -> None:
    rows = [{"sample_id": f"s{n}", "reward": [0.5]} for n in range(300)]
    np.save(tmp_path / "e.npy", np.zeros((300, 4), np.float32))
    with pytest.raises(DatasetError, match="the same in 299 more rows") as caught:
        read_signals(write(tmp_path, rows, embeddings=tmp_path / "e.npy"), [f"s{n}" for n in range(300)])
    assert caught.value.total == 1


def safetensors(path: Path, **tensors: tuple[str, list[int], bytes]) -> Path:
    """Write tensors of types that numpy lacks."""
    header, body = {}, b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize("save", ["f2", "f4", "f8", ">f4", "fortran", "bfloat16"])
def test_floats_of_every_size_are_read(tmp_path: Path, save: str) -> None:
    values = np.array([[1.5, -2, 0.25], [3, 4, 5]], np.float32)
    path = tmp_path / "v"
    if save == "bfloat16":
        bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        safetensors(path, vectors=("BF16", [2, 3], bits), other=("I64", [1], bytes(8)))
    else:
        with path.open("wb") as file:
            np.save(file, np.asfortranarray(values) if save == "fortran" else values.astype(save))
    np.testing.assert_array_equal(read_signals(write(tmp_path, vectors=path))["vectors"], values[::-1])


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"vectors": ("F8_E4M3", [2, 1], bytes(2))}, r"is F8_E4M3 .2, 1.; expected float16, bfloat16, float32"),
        ({"vectors": ("I8", [2, 1], bytes(2))}, "is I8"),
        ({"vectors": ("F32", [2], bytes(8))}, "expected a table"),
        (
            {"a": ("F32", [2, 1], bytes(8)), "b": ("F32", [2, 1], bytes(8))},
            "holds the tensors a, b; name one",
        ),
        ({}, "holds the tensors none"),
    ],
)
def test_safetensors_of_another_kind_are_named(tmp_path: Path, tensors: Any, says: str) -> None:
    path = safetensors(tmp_path / "v.safetensors", **tensors)
    with pytest.raises(DatasetError, match=says) as caught:
        read_signals(write(tmp_path, vectors=path))
    assert "cannot be read" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 and so on", "a zip archive, as .npz and .pt are"),
        (b"\x1f\x8b and so on", "gzip-compressed"),
        (b"", "cannot be read"),
        (b"\xff" * 40, "an Arrow stream|cannot be read"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "cannot be read as npy"),
        (b"1.0,2.0\n3.0,4.0\n", "cannot be read"),
    ],
)
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        read_signals(write(tmp_path, vectors=tmp_path / "v"))


def test_a_file_of_more_than_one_block_keeps_its_order(tmp_path: Path) -> None:
    count, width = 5_000, 512
    ids = [f"s{n}" for n in range(count)]
    shuffled = np.random.default_rng(0).permutation(count)
    values = np.random.default_rng(1).standard_normal((count, width)).astype(np.float32)
    np.save(tmp_path / "v.npy", values[shuffled])
    rows = [{"sample_id": ids[n], "reward": [n / count], "hit": [bool(n % 2)]} for n in shuffled.tolist()]
    signals = read_signals(write(tmp_path, rows, vectors=tmp_path / "v.npy"), ids)
    np.testing.assert_array_equal(signals["vectors"], values)
    assert signals["rewards"][:, 0].tolist() == [n / count for n in range(count)]
    assert signals["hits"][:, 0].tolist() == [n % 2 for n in range(count)]


def test_an_array_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    count, width = 10_000, 2048
    ids = [f"s{n}" for n in range(count)]
    arrays = {part: tmp_path / f"{part}.npy" for part in ("vectors", "embeddings")}
    for path in arrays.values():
        np.save(path, np.ones((count, width), dtype=np.float32))
    files = write(tmp_path, [{"sample_id": name, "reward": [0.5]} for name in reversed(ids)], **arrays)
    tracemalloc.start()
    try:
        write_signals(files, ids, tmp_path / "signals.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count * width * 4 / 2


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.array([[{}], [{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read as npy"):
        read_signals(write(tmp_path, vectors=tmp_path / "vectors.npy"), IDS)


def test_the_published_rewards_are_read_as_they_are(tmp_path: Path, shared: Path) -> None:
    path = shared / "golden" / "rewards.jsonl.gz"
    signals = read_signals(SignalFiles({"rewards": path}, {"rewards": path.name}), [str(n) for n in range(10_748)])
    assert signals["rewards"].shape == (10_748, 4)
    assert signals["hits"].any(axis=1).mean() == pytest.approx(0.4, abs=0.35)


@pytest.mark.parametrize("header", [b"{'descr': '<f4', (((", b"{'descr': '<f4'\\", b"\xff" * 20, b"[" * 5_000])
def test_an_array_with_a_damaged_header_is_refused(tmp_path: Path, header: bytes) -> None:
    length = len(header).to_bytes(2, "little")
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY\x01\x00" + length + header + b"\0" * 99)
    with pytest.raises(DatasetError, match="cannot be read as npy"):
        read_signals(write(tmp_path, vectors=tmp_path / "v.npy"), IDS)


def test_a_reward_that_cannot_be_squared_is_refused(tmp_path: Path) -> None:
    rows = [{"sample_id": name, "reward": [1e200 if name == "b" else 0.5]} for name in IDS]
    with pytest.raises(DatasetError, match=r"reward\[0\]: .*1e\+30"):
        read_signals(write(tmp_path, rows), IDS)
