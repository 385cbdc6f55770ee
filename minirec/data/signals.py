"""Signals that a platform measured in its own runs: rewards, and perhaps vectors and embeddings, by sample id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from api_schemas import RewardRow
from minirec.data.files import DEFAULT_LIMITS, FileFault, Limits, detect_kind, read_text, split_lines
from minirec.data.rows import DatasetError, Faults, read_rows, shown

Arrays = dict[str, npt.NDArray[Any]]

PARTS = ("rewards", "vectors", "embeddings", "ids")


@dataclass(frozen=True)
class SignalFiles:
    """Where the parts of an upload lie, and what messages call them."""

    paths: Mapping[str, Path]
    """`rewards`; optionally `vectors` and `embeddings` (npy or safetensors), and `ids` (one per line) of their rows."""
    names: Mapping[str, str]


def read_signals(files: SignalFiles, dataset_ids: Sequence[str], *, limits: Limits = DEFAULT_LIMITS) -> Arrays:
    """Check the parts and bring them into dataset order.

    Returns `rows` (n,) sorted row numbers of the dataset, `rewards` (n, G) float64 and, where given, `hits` (n, G)
    uint8, `vectors` (n, d) and `embeddings` (n, e) float32. The rows of vectors and embeddings belong to the ids in
    `ids`, or else to the samples of the rewards file in its order. Raises DatasetError that names file, line and field.
    """
    faults = Faults()
    ids, rewards, hits = _read_rewards(files, dataset_ids, faults, limits)
    arrays: Arrays = {"rewards": rewards}
    if hits is not None:
        arrays["hits"] = hits
    if not faults.total:
        array_ids = _read_ids(files, faults, limits) if "ids" in files.paths else ids
        for part in ("vectors", "embeddings"):
            if part in files.paths:
                arrays[part] = _read_array(files, part, array_ids, ids, faults)
    if faults.total:
        raise DatasetError(faults.errors, faults.total)
    row_of = {sample_id: row for row, sample_id in enumerate(dataset_ids)}
    rows = np.array([row_of[sample_id] for sample_id in ids], dtype=np.int64)
    order = np.argsort(rows)
    return {"rows": rows[order], **{name: values[order] for name, values in arrays.items()}}


def _read_rewards(
    files: SignalFiles, dataset_ids: Sequence[str], faults: Faults, limits: Limits
) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.uint8] | None]:
    name, known = files.names["rewards"], set(dataset_ids)
    line_of: dict[str, int] = {}
    rewards: list[list[float]] = []
    hits: list[list[bool] | None] = []
    for line, row in read_rows(files.paths["rewards"], name, RewardRow, faults, limits):
        sample_id = str(row.sample_id)
        if sample_id in line_of:
            faults.add(name, line, "sample_id", f"{shown(sample_id)} is on line {line_of[sample_id]} already")
        elif sample_id not in known:
            faults.add(name, line, "sample_id", f"the dataset has no sample {shown(sample_id)}")
        elif rewards and len(row.reward) != len(rewards[0]):
            faults.add(name, line, "reward", f"has {len(row.reward)} rewards; the rows before have {len(rewards[0])}")
        else:
            line_of[sample_id] = line
            rewards.append(row.reward)
            hits.append(row.hits)
    told = [outcome for outcome in hits if outcome is not None]
    if told and len(told) < len(hits):
        faults.add(name, None, "hit", f"{len(told)} of {len(hits)} rows say which rollouts hit; all must, or none")
    return list(line_of), np.array(rewards, dtype=np.float64), np.array(told, dtype=np.uint8) if told else None


def _read_ids(files: SignalFiles, faults: Faults, limits: Limits) -> list[str]:
    """Ids of the arrays' rows, one per line."""
    path, name = files.paths["ids"], files.names["ids"]
    line_of: dict[str, int] = {}
    try:
        kind = detect_kind(path)
        if kind == "parquet":
            raise FileFault("a Parquet file; send text with one id per line")
        for line, raw in split_lines(read_text(path, kind, limits), limits):
            sample_id = raw.decode("utf-8", errors="replace").strip()
            if sample_id in line_of:
                faults.add(name, line, None, f"{shown(sample_id)} is on line {line_of[sample_id]} already")
            elif sample_id:
                line_of[sample_id] = line
    except FileFault as fault:
        faults.add(name, fault.line, None, fault.msg)
    return list(line_of)


def _read_array(
    files: SignalFiles, part: str, array_ids: Sequence[str], ids: Sequence[str], faults: Faults
) -> npt.NDArray[np.float32]:
    """Rows (n, d) of an array, in the order of `ids`; empty when something is wrong with it."""
    name = files.names[part]
    empty = np.empty((0, 0), dtype=np.float32)
    try:
        array = _load_array(files.paths[part], part)
    except FileFault as fault:
        faults.add(name, None, None, fault.msg)
        return empty
    if len(array) != len(array_ids):
        faults.add(name, None, None, f"has {len(array)} rows for {len(array_ids)} ids")
        return empty
    row_of = {sample_id: row for row, sample_id in enumerate(array_ids)}
    for sample_id in ids:
        if sample_id not in row_of:
            faults.add(name, None, None, f"has no row for sample {shown(sample_id)}, which has rewards")
    for row in np.flatnonzero(~np.isfinite(array).all(axis=1)).tolist():
        faults.add(name, row + 1, None, f"the row of sample {shown(array_ids[row])} holds NaN or infinity")
    if faults.total:
        return empty
    return array[[row_of[sample_id] for sample_id in ids]]


def _load_array(path: Path, part: str) -> npt.NDArray[np.float32]:
    """An npy or safetensors file as float32 (n, d). Raises FileFault."""
    with path.open("rb") as file:
        is_npy = file.read(6) == b"\x93NUMPY"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False) if is_npy else _load_safetensors(path, part)
    except (ValueError, OSError, SafetensorError, TypeError, EOFError) as error:
        raise FileFault(f"cannot be read as npy or safetensors: {error}") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or array.shape[1] == 0:
        raise FileFault(f"is {array.dtype} {array.shape}; expected a table of floats with one row per sample")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _load_safetensors(path: Path, part: str) -> npt.NDArray[Any]:
    with safe_open(path, framework="numpy") as file:
        keys = list(file.keys())
        if part not in keys and len(keys) != 1:
            raise FileFault(f"holds the tensors {', '.join(keys) or 'none'}; name one of them {part}")
        array: npt.NDArray[Any] = file.get_tensor(part if part in keys else keys[0])
    return array
