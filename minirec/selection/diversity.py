"""Diversity: samples that score high and lie far from those already chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, IndexArray, finite_vector, require_size
from minirec.selection.lazy_greedy import LazyGreedy
from minirec.selection.rows import Rows
from minirec.selection.strata import Quotas, proportional_quotas, stratum_codes


@dataclass(frozen=True)
class DiverseChoice:
    """Rows in the order in which they were chosen."""

    indices: IndexArray
    """(k,) positions of the chosen rows."""
    distances: FloatArray
    """(k,) cosine distance (0 to 2) to the nearest row chosen before; infinite for the first, which has none."""
    n_by_score: int
    """How many were chosen by score alone, since no distance was left to tell them apart."""


def select_diverse(
    embeddings: Any,
    scores: npt.ArrayLike,
    k: int,
    *,
    eligible: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    tie_order: IndexArray | None = None,
) -> DiverseChoice:
    """Choose k rows greedily, each with the largest score times distance to those before (docs/method.md, section 5).

    Rows are normalised in float64; m is the distance 1 - cosine to the nearest chosen row, the key m * score. Keys
    within 1e-12 of the largest, relative to it, are tied (and so are distances within 1e-15, which float64 cannot
    tell apart): the larger score wins, then the smaller place in `tie_order`. Once all keys are at most 1e-12 the rest
    follows by score, then `tie_order`. The choice equals that of evaluating every key at every step, whatever the
    input's order of magnitude or precision.

    Args:
        embeddings: (N, d), of any floating-point type, memory-mapped or a torch tensor.
        scores: (N,), none below 0. The first choice is the row with the largest.
        k: How many rows to choose.
        eligible: (N,) booleans. Rows that are not are chosen only after all that are, by the same rule.
        strata: (N,) values; of rows with the same one no more are chosen than their share of `k`.
        tie_order: (N,) who goes first among equals; positions without it.

    Returns:
        The k rows.

    Raises:
        RowError: NaN, infinity or a zero row.
        ValueError: A negative score, arrays that disagree in N, or k > N.
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
    order = np.arange(rows.n) if tie_order is None else tie_order
    codes = None if strata is None else stratum_codes(strata, rows.n)

    greedy = LazyGreedy(rows, values, k, order)
    first = min(k, int(np.count_nonzero(allowed)))
    for among, count in ((allowed, first), (~allowed, k - first)):
        if count:
            quotas = None
            if codes is not None:
                quotas = Quotas(codes, proportional_quotas(codes, among, count, values, order))
            greedy.choose(among, count, quotas)
    return DiverseChoice(greedy.indices, greedy.distances, greedy.n_by_score)
