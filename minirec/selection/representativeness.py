"""Representativeness: how well a sample's gradient agrees with the whole pool's."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minirec.selection.checks import FloatArray, RowError, min_max
from minirec.selection.rows import Double, Rows

Direction = Literal["unit_mean", "mean"]


def representativeness(vectors: Any, *, direction: Direction = "unit_mean", normalize: bool = True) -> FloatArray:
    """Return R of each sample, from its gradient or Hessian-vector product (docs/method.md, section 4).

    vectors (N, d), of any floating-point type, memory-mapped or a torch tensor -> (N,): (1 + cos(v, m)) / 2, then
    moved to [0, 1] over the pool; `normalize=False` leaves that out. m is the mean of the unit vectors
    ("unit_mean"), so that one huge row cannot become the direction, or of the vectors as they are ("mean"). A zero
    vector agrees with nothing and opposes nothing: its R is 1/2.

    Raises ValueError for NaN or infinity (naming the row) and for another shape.
    """
    rows = Rows(vectors, "vectors")
    total = np.zeros(rows.d)
    for block in rows.blocks():
        part = _finite(rows, block)
        total += (_unit(part) if direction == "unit_mean" else part).sum(axis=0)
    length = np.linalg.norm(total)
    towards = total / length if length > 0 else total
    cosines = np.concatenate([_unit(rows.double(block)) @ towards for block in rows.blocks()])
    agreement = (1 + np.clip(cosines, -1, 1)) / 2
    return min_max(agreement) if normalize else agreement


def _finite(rows: Rows, block: slice) -> Double:
    part = rows.double(block)
    bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
    if bad.size:
        raise RowError(rows.name, block.start + int(bad[0]), "has NaN or infinity")
    return part


def _unit(part: Double) -> Double:
    """Return rows of length 1; zero rows stay zero."""
    # Divided by its largest entry first, so that squaring neither overflows nor underflows.
    largest = np.abs(part).max(axis=1, keepdims=True)
    scaled = part / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norms > 0, norms, 1))
