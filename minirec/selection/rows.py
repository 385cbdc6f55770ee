"""Rows of a matrix that may be large, memory-mapped, of half precision or a torch tensor, read a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Which = slice | npt.NDArray[np.int64]

BLOCK_BYTES = 2**21
"""Size of a block in float32: small enough to stay in a core's cache between two passes over it."""


class Rows:
    """A (N, d) matrix of float16, bfloat16, float32 or float64, converted only where it is read.

    Raises ValueError for another shape or type. A torch tensor is read in place; torch itself is not needed otherwise.
    """

    def __init__(self, values: Any, name: str) -> None:
        is_tensor = type(values).__module__.partition(".")[0] == "torch"
        self._values, self._is_bfloat16 = _tensor_as_array(values) if is_tensor else (np.asarray(values), False)
        if self._values.ndim != 2 or 0 in self._values.shape:
            raise ValueError(f"{name} must have shape (N, d) with N, d >= 1, not {self._values.shape}")
        if not self._is_bfloat16 and self._values.dtype.kind != "f":
            raise ValueError(f"{name} must be floating-point numbers, not {self._values.dtype}")
        self.name = name
        self.n, self.d = self._values.shape
        self.block_rows = max(1, BLOCK_BYTES // (4 * self.d))

    def blocks(self) -> Iterator[slice]:
        """Yield slices of `block_rows` rows that together cover the matrix."""
        for start in range(0, self.n, self.block_rows):
            yield slice(start, min(start + self.block_rows, self.n))

    def single(self, which: Which) -> Single:
        """Return those rows in float32, shape (len(which), d). Larger numbers than it holds become infinite."""
        with np.errstate(over="ignore"):
            return np.asarray(self._read(which), dtype=np.float32)

    def double(self, which: Which) -> Double:
        """Return those rows in float64, shape (len(which), d)."""
        return np.asarray(self._read(which), dtype=np.float64)

    def _read(self, which: Which) -> npt.NDArray[Any]:
        part = self._values[which]
        if not self._is_bfloat16:
            return part
        return (part.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _tensor_as_array(tensor: Any) -> tuple[npt.NDArray[Any], bool]:
    """Return a torch tensor's memory as an array, and whether that is the 16 bits of bfloat16, which numpy lacks."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy(), True
    return tensor.numpy(), False
