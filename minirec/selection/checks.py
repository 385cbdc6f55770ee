"""What every input is checked for before it is computed with: shape, NaN and infinity, by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

Rewards = npt.NDArray[np.floating] | Sequence[Sequence[float]]
"""Rewards of N samples under G rollouts each, shape (N, G)."""
Hits = npt.NDArray[np.bool_] | Sequence[Sequence[bool | int]]
"""Whether each of those rollouts ranked the target within K, shape (N, G)."""


class RowError(ValueError):
    """A row of an input cannot be computed with; says which, so that a caller can name the sample."""

    def __init__(self, name: str, row: int, fault: str) -> None:
        super().__init__(f"{name}: row {row} {fault}")
        self.name = name
        self.row = row
        self.fault = fault


def finite_matrix(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return `values` as float64 of shape (N, M), N and M at least 1; ValueError names the first row at fault."""
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(_uneven(values, name) or f"{name} are not numbers: {error}") from None
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name} must have shape (N, M) with M >= 1, not {matrix.shape}")
    require_finite(matrix, name)
    return matrix


def finite_vector(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return `values` as float64 of shape (N,); ValueError names the first entry at fault."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), not {vector.shape}")
    require_finite(vector, name)
    return vector


def require_finite(values: FloatArray, name: str) -> None:
    """Raise RowError that names the first row with NaN or infinity and counts the others."""
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
    others = f" (and {bad.size - 1} more rows)" if bad.size > 1 else ""
    raise RowError(name, int(bad[0]), f"has NaN or infinity{others}")


def hit_matrix(hits: Hits, shape: tuple[int, ...]) -> BoolArray:
    """Return `hits` as booleans of the same shape as the rewards."""
    matrix = np.asarray(hits)
    if matrix.shape != shape:
        raise ValueError(f"hits have shape {matrix.shape}, rewards have {shape}: one hit per rollout is needed")
    return matrix.astype(bool)


def require_size(k: int, n: int) -> None:
    """Raise ValueError unless 1 <= k <= n."""
    if not 1 <= k <= n:
        raise ValueError(f"cannot select {k} of {n} samples: the size must lie between 1 and the pool's size")


def min_max(values: FloatArray) -> FloatArray:
    """Return `values` moved to [0, 1] over the pool; all zero where they are all equal (docs/method.md, section 3)."""
    low = values.min()
    return np.asarray((values - low) / (values.max() - low + 1e-12))


def _uneven(values: npt.ArrayLike, name: str) -> str | None:
    """Say which row of a list of lists has another length than the first, if that is the fault."""
    if not isinstance(values, Sequence):
        return None
    lengths = [len(row) if isinstance(row, Sequence | np.ndarray) else 0 for row in values]
    odd = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    return None if odd is None else f"{name}: row {odd} has {lengths[odd]} values, row 0 has {lengths[0]}"
