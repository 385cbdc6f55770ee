"""Diversity: samples that score high and lie far from those already chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, IndexArray, finite_vector, require_size
from minirec.selection.lazy_greedy import LazyGreedy
from minirec.selection.rows import Rows


@dataclass(frozen=True)
class DiverseChoice:
    """Rows in the order in which they were chosen."""

    indices: IndexArray
    """(k,) positions of the chosen rows."""
    distances: FloatArray
    """(k,) cosine distance (0 to 2) to the nearest row chosen before; infinite for the first, which has none."""


def select_diverse(
    embeddings: Any, scores: npt.ArrayLike, k: int, *, eligible: npt.ArrayLike | None = None
) -> DiverseChoice:
    """Choose k rows greedily, each with the largest score times distance to those before (docs/method.md, section 5).

    embeddings (N, d), of any floating-point type, memory-mapped or a torch tensor; scores (N,), none below 0;
    eligible (N,) booleans -> `DiverseChoice` of k rows. The first is the row with the largest score. Rows that are
    not eligible are chosen only after all that are, by the same rule.

    Rows are normalised in float64; m is the distance 1 - cosine to the nearest chosen row, the key m * score. Keys
    within 1e-12 of the largest, relative to it, are tied (and so are distances within 1e-15, which float64 cannot
    tell apart): the larger score wins, then the lower position. Once all keys are at most 1e-12 the rest follows by
    score, then position. The choice equals that of evaluating every key at every step, whatever the input's order of
    magnitude or precision.

    Raises ValueError for NaN, infinity or a zero row (naming it), a negative score, arrays that disagree in N, k > N.
    """
    rows = Rows(embeddings, "embeddings")
    values = finite_vector(scores, "scores")
    if values.size != rows.n:
        raise ValueError(f"there are {rows.n} embeddings and {values.size} scores: one score per row is needed")
    require_size(k, rows.n)
    if values.min() < 0:
        row = int(np.argmax(values < 0))
        raise ValueError(f"scores: row {row} is {values[row]}; scores must not be negative")
    allowed = np.ones(rows.n, dtype=bool) if eligible is None else np.asarray(eligible)
    if allowed.shape != values.shape or allowed.dtype != np.bool_:
        raise ValueError(f"eligible must be {rows.n} booleans, not {allowed.dtype} of shape {allowed.shape}")

    greedy = LazyGreedy(rows, values, k)
    first = min(k, int(np.count_nonzero(allowed)))
    if first:
        greedy.choose(allowed, first)
    if k > first:
        greedy.choose(~allowed, k - first)
    return DiverseChoice(indices=greedy.indices, distances=greedy.distances)
