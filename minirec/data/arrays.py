"""Uploaded tables of floats, npy or safetensors, checked by their headers and read in blocks of rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from minirec.data.files import FileFault
from minirec.data.foreign import foreign_kind

BLOCK_BYTES = 8 << 20
NORMS = (1e-18, 1e18)
"""Between these a row's length can be computed with in float32; `minirec.selection` has the same bounds."""
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
"""Data types of safetensors that are read; bfloat16 as its bits."""


@dataclass(frozen=True)
class ArrayFile:
    """A table of floats on disk, none of it in memory."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, int]
    order: Literal["C", "F"] = "C"
    bfloat16: bool = False

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Yield some of the given rows' numbers with their values (b, d), float32 or what the file has."""
        size = max(1, BLOCK_BYTES // (8 * self.shape[1]))
        with self.path.open("rb", buffering=0) as file:
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                values = self._read(file.fileno(), part) if self.order == "C" else self._mapped()[part]
                if self.bfloat16:
                    values = (values.astype(np.uint32) << 16).view(np.float32)
                yield part, values

    def _read(self, file: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows of a file; mapped into memory, they would bring all their surroundings along."""
        width = self.shape[1] * self.dtype.itemsize
        if (np.diff(rows) == 1).all():
            content = os.pread(file, width * len(rows), self.offset + width * int(rows[0]))
        else:
            content = b"".join(os.pread(file, width, self.offset + width * row) for row in rows.tolist())
        return np.frombuffer(content, self.dtype).reshape(len(rows), -1)

    def _mapped(self) -> npt.NDArray[Any]:
        """Map a file whose columns, not its rows, lie together; anew for every block, or all of it stays in memory."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)


def open_array(path: Path, part: str) -> ArrayFile:
    """Open an npy or safetensors file; of several tensors, the one that is named like the part.

    Raises FileFault for what is no table of floats with one row per sample.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\x93NUMPY"):
        return _open_npy(path)
    if head.startswith(b"PK\x03\x04"):
        raise FileFault("is a zip archive, as .npz and .pt are; save one array as .npy or .safetensors")
    if head.startswith(b"\x1f\x8b") or (kind := foreign_kind(head)) is not None:
        raise FileFault(f"is {'gzip-compressed' if head.startswith(bytes([31])) else kind}; send the array itself")
    return _open_safetensors(path, part)


def _open_npy(path: Path) -> ArrayFile:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # Of a damaged header NumPy raises whatever Python's tokenizer does.
        raise FileFault(f"cannot be read as npy: {error}") from error
    if array.dtype.kind == "V":
        raise FileFault(f"is npy of type {array.dtype}, which does not tell bfloat16 or fp8; save it as safetensors")
    shape = _checked_shape(array.shape, str(array.dtype), floating=np.issubdtype(array.dtype, np.floating))
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    return ArrayFile(path, array.dtype, int(array.offset), shape, order)


def _open_safetensors(path: Path, part: str) -> ArrayFile:
    try:
        with safe_open(path, framework="numpy") as file:  # This checks the header against the file's length.
            keys = list(file.keys())
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(length))
    except Exception as error:
        raise FileFault(f"cannot be read as npy or safetensors: {error}") from error
    if part not in keys and len(keys) != 1:
        raise FileFault(f"holds the tensors {', '.join(sorted(keys)) or 'none'}; name one of them {part}")
    entry = header[part if part in keys else keys[0]]
    kind = entry["dtype"]
    shape = _checked_shape(tuple(entry["shape"]), kind, floating=kind in _FLOATS)
    offset = 8 + length + entry["data_offsets"][0]
    return ArrayFile(path, np.dtype(_FLOATS[kind]), offset, shape, bfloat16=kind == "BF16")


def _checked_shape(shape: tuple[int, ...], kind: str, *, floating: bool) -> tuple[int, int]:
    if len(shape) != 2 or shape[1] == 0:
        raise FileFault(f"is {kind} {list(shape)}; expected a table with one row of floats per sample, (n, d)")
    if not floating:
        raise FileFault(f"is {kind} {list(shape)}; expected float16, bfloat16, float32 or float64")
    return shape[0], shape[1]


def row_faults(part: str, given: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], dict[int, tuple[str, str]]]:
    """Return a block of rows as float32, and what is wrong with which row: its kind, and in words.

    Embeddings need a direction and a length; vectors may be zero, which they are where rewards do not differ.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(given, dtype=np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    found: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist():
        too_large = bool(np.isfinite(given[row]).all())
        found[row] = ("range", "has values beyond float32") if too_large else ("finite", "holds NaN or infinity")
    if part == "embeddings":
        for row in np.flatnonzero(~((norms > NORMS[0]) & (norms < NORMS[1]))).tolist():
            zero = norms[row] == 0
            words = "is all zeros and has no direction" if zero else f"has a norm outside {NORMS[0]:g} to {NORMS[1]:g}"
            found.setdefault(row, ("zero" if zero else "norm", words))
    return values, found
