"""Signals that a platform measured in its own runs: rewards, and perhaps vectors and embeddings, by sample id.

Arrays go from file to file in blocks: an upload takes little memory, however large it is.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from minirec.api_schemas import RewardRow
from minirec.data.arrays import ArrayFile, open_array, row_faults
from minirec.data.faults import DatasetError, Faults, shown
from minirec.data.files import DEFAULT_LIMITS, FileFault, Limits, detect_kind, read_text, split_lines
from minirec.data.rows import read_rows

PARTS = ("rewards", "vectors", "embeddings", "ids")
_BLOCK = 65_536

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SignalFiles:
    """Where the parts of an upload lie, and what messages call them."""

    paths: Mapping[str, Path]
    """`rewards`; optionally `vectors` and `embeddings` (npy or safetensors), and `ids` (one per line) of their rows."""
    names: Mapping[str, str]


@dataclass(frozen=True)
class StoredSignals:
    """Signals in dataset order, in one safetensors file.

    It holds `rows` (n,) sorted row numbers of the dataset, `rewards` (n, G) float64 and, where given, `hits` (n, G)
    uint8, `vectors` (n, d) and `embeddings` (n, e) float32.
    """

    path: Path
    n_samples: int
    rollouts: int
    has_hits: bool
    vector_size: int | None
    embedding_size: int | None


def read_signals(
    files: SignalFiles, dataset_ids: Sequence[str], out: Path, *, limits: Limits = DEFAULT_LIMITS
) -> StoredSignals:
    """Check the parts of an upload and write them in dataset order.

    Args:
        files: the parts. The rows of vectors and embeddings belong to the ids in `ids`, or else to the samples of the
            rewards file in its order.
        dataset_ids: the dataset's sample ids in its order.
        out: the file to write.
        limits: bounds on the text files.

    Returns:
        What was written.

    Raises:
        DatasetError: names file, line, field and sample of each fault.
    """
    faults = Faults()
    pa.default_memory_pool().release_unused()  # What reading the ids took.
    row_of = _Lookup(dataset_ids)
    rewards = _Rewards(files, row_of, faults, limits)
    rows = np.frombuffer(rewards.rows, dtype=np.int64)
    arrays: dict[str, tuple[ArrayFile, Rows]] = {}
    if not faults.total:
        places = _read_ids(files, row_of, faults, limits) if "ids" in files.paths else _Places.of(rows, row_of.size)
        for part in ("vectors", "embeddings"):
            if part in files.paths and (found := _open(files, part, places, rows, dataset_ids, faults)) is not None:
                arrays[part] = found, places.at
    if not faults.total:
        _write(out, files, rewards, arrays, dataset_ids, faults)
    if faults.total:
        raise DatasetError(faults.errors, faults.total)
    sizes = {part: file.shape[1] for part, (file, _) in arrays.items()}
    return StoredSignals(out, len(rows), rewards.width, rewards.has_hits, sizes.get("vectors"), sizes.get("embeddings"))


class _Lookup:
    """Rows of a dataset by sample id, in 16 bytes each; a dictionary takes five times that."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self.size = len(ids)
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]

    def get(self, sample_id: str) -> int | None:
        """Return the row of a sample, or None."""
        wanted = hash(sample_id)
        at = int(np.searchsorted(self._hashes, wanted))
        while at < self.size and self._hashes[at] == wanted:
            row = int(self._order[at])
            if self._ids[row] == sample_id:
                return row
            at += 1
        return None


class _Rewards:
    """The rewards of a file, in its order, in a few bytes each."""

    def __init__(self, files: SignalFiles, row_of: _Lookup, faults: Faults, limits: Limits) -> None:
        name = files.names["rewards"]
        self.rows = array("q")
        """The dataset's row of each."""
        self.width = 0
        self.values = array("d")
        self._hits = bytearray()
        lines = np.zeros(row_of.size, dtype=np.int64)
        for line, row in read_rows(files.paths["rewards"], name, RewardRow, faults, limits):
            sample_id = row.sample_id
            at = row_of.get(sample_id)
            if at is None:
                msg = f"the dataset has no sample {shown(sample_id)}"
                faults.add(name, line, "sample_id", msg)
            elif lines[at]:
                faults.add(name, line, "sample_id", f"{shown(sample_id)} is on line {lines[at]} already")
            elif self.width and len(row.reward) != self.width:
                faults.add(name, line, "reward", f"has {len(row.reward)} rewards; the rows before have {self.width}")
            else:
                lines[at] = line
                self.width = len(row.reward)
                self.rows.append(at)
                self.values.extend(row.reward)
                self._hits.extend(row.hits or ())
        known = len(self._hits) // self.width if self.width else 0
        self.has_hits = known > 0
        if 0 < known < len(self.rows):
            faults.add(name, None, "hit", f"{known} of {len(self.rows)} rows say which rollouts hit; all must, or none")

    @property
    def table(self) -> npt.NDArray[np.float64]:
        """Return the rewards, (n, G) in the order of the file."""
        return np.frombuffer(self.values, dtype=np.float64).reshape(len(self.rows), -1)

    @property
    def hits(self) -> npt.NDArray[np.uint8]:
        """Return the hits, (n, G) in the order of the file, where they are known."""
        return np.frombuffer(self._hits, dtype=np.uint8).reshape(len(self.rows), -1)


@dataclass(frozen=True)
class _Places:
    """Which row of the arrays belongs to which sample."""

    at: Rows
    """Row of the arrays for each row of the dataset, -1 for none."""
    count: int

    @classmethod
    def of(cls, rows: Rows, samples: int) -> _Places:
        """Return the places of arrays in the order of these rows of a dataset."""
        at = np.full(samples, -1, dtype=np.int64)
        at[rows] = np.arange(len(rows))
        return cls(at, len(rows))


def _read_ids(files: SignalFiles, row_of: _Lookup, faults: Faults, limits: Limits) -> _Places:
    """Read the ids of the arrays' rows, one per line; those that the dataset does not have count as rows, too."""
    path, name = files.paths["ids"], files.names["ids"]
    at = np.full(row_of.size, -1, dtype=np.int64)
    lines = np.zeros(row_of.size, dtype=np.int64)
    others: dict[str, int] = {}
    count = 0
    try:
        kind = detect_kind(path)
        if kind == "parquet":
            raise FileFault("a Parquet file; send text with one id per line")
        for line, raw in split_lines(read_text(path, kind, limits), limits):
            if not (sample_id := raw.decode("utf-8", errors="replace").strip()):
                continue
            row = row_of.get(sample_id)
            first = others.get(sample_id, 0) if row is None else int(lines[row])
            if first:
                faults.add(name, line, None, f"{shown(sample_id)} is on line {first} already")
            elif row is None:
                others[sample_id] = line
            else:
                lines[row], at[row] = line, count
            count += 1
    except FileFault as fault:
        faults.add(name, fault.line, None, fault.msg)
    return _Places(at, count)


def _open(
    files: SignalFiles, part: str, places: _Places, rows: Rows, dataset_ids: Sequence[str], faults: Faults
) -> ArrayFile | None:
    """Open an array that has a row for every sample with rewards, or add what is wrong with it."""
    name = files.names[part]
    try:
        found = open_array(files.paths[part], part)
    except FileFault as fault:
        faults.add(name, None, None, fault.msg)
        return None
    if found.shape[0] != places.count:
        faults.add(name, None, None, f"has {found.shape[0]} rows for {places.count} ids")
        return None
    for row in rows[places.at[rows] < 0].tolist():
        faults.add(name, None, None, f"has no row for sample {shown(dataset_ids[row])}, which has rewards")
    return found


def _write(
    out: Path,
    files: SignalFiles,
    rewards: _Rewards,
    arrays: Mapping[str, tuple[ArrayFile, Rows]],
    dataset_ids: Sequence[str],
    faults: Faults,
) -> None:
    """Write everything in dataset order, 8-byte values first, so that all is aligned."""
    rows = np.frombuffer(rewards.rows, dtype=np.int64)
    order = np.argsort(rows)
    n, width = len(rows), rewards.width
    tensors: dict[str, tuple[str, list[int], int]] = {
        "rows": ("I64", [n], 8 * n),
        "rewards": ("F64", [n, width], 8 * n * width),
        **{part: ("F32", [n, a.shape[1]], 4 * n * a.shape[1]) for part, (a, _) in arrays.items()},
        **({"hits": ("U8", [n, width], n * width)} if rewards.has_hits else {}),
    }
    with out.open("wb") as sink:
        sink.write(_header(tensors))
        sink.write(np.ascontiguousarray(rows[order]).tobytes())
        _write_blocks(sink, rewards.table, order)
        for part, (file, at) in arrays.items():
            name = files.names[part]
            done = 0
            for numbers, given in file.blocks(at[rows[order]]):
                values, wrong = row_faults(part, given)
                for row, (kind, words) in wrong.items():
                    sample = dataset_ids[rows[order[done + row]]]
                    msg = f"the row of sample {shown(sample)} {words}"
                    faults.add(name, int(numbers[row]) + 1, None, msg, (part, kind))
                sink.write(values.data)
                done += len(numbers)
            faults.merge(n)
        if rewards.has_hits:
            _write_blocks(sink, rewards.hits, order)


def _write_blocks(sink: Any, table: npt.NDArray[Any], order: Rows) -> None:
    for start in range(0, len(order), _BLOCK):
        sink.write(table[order[start : start + _BLOCK]].tobytes())


def _header(tensors: Mapping[str, tuple[str, Iterable[int], int]]) -> bytes:
    """Return the header of a safetensors file whose tensors follow in this order."""
    entries, begin = {}, 0
    for name, (kind, shape, size) in tensors.items():
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
