"""Strata: a choice in which every user, target or source has its share (docs/method.md, section 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import BoolArray, FloatArray, IndexArray


def stratum_codes(strata: npt.ArrayLike, n: int) -> IndexArray:
    """Return each sample's stratum as a number from 0. Raises ValueError unless there is one value per sample."""
    values = np.asarray(strata)
    if values.shape != (n,):
        raise ValueError(f"strata must name one stratum for each of {n} samples, not have shape {values.shape}")
    _, codes = np.unique(values, return_inverse=True)
    return np.asarray(codes, dtype=np.int64)


def proportional_quotas(
    codes: IndexArray, among: BoolArray, count: int, scores: FloatArray, tie_order: IndexArray
) -> IndexArray:
    """Return how many of each stratum to choose: its share of `count`, rounded down or up.

    The share of a stratum is in proportion to its samples in `among`. Shares are rounded down first; what is left of
    `count` goes, one each, to the strata whose next best sample scores highest. So the score decides who gains by the
    rounding, and every stratum gets its share to within one sample.

    Args:
        codes: (N,) stratum of each sample.
        among: (N,) samples that may be chosen.
        count: How many to choose, at most as many as there are in `among`.
        scores: (N,) larger is better.
        tie_order: (N,) who goes first among equals.

    Returns:
        (number of strata,), `count` in sum.
    """
    members = np.bincount(codes[among], minlength=int(codes.max()) + 1)
    total = int(members.sum())
    quotas, remainder = np.divmod(members * count, total)
    left = count - int(quotas.sum())
    if left:
        which = np.flatnonzero(among)
        best_first = which[np.lexsort((tie_order[which], -scores[which]))]
        # The next sample of a stratum is the one behind as many as its rounded share.
        next_best = best_first[_place_in_stratum(codes[best_first]) == quotas[codes[best_first]]]
        next_best = next_best[remainder[codes[next_best]] > 0]
        quotas[codes[next_best[:left]]] += 1
    return quotas


class Quotas:
    """How many more samples of each stratum may be chosen, while a choice is made."""

    def __init__(self, codes: IndexArray, quotas: IndexArray) -> None:
        self._codes = codes
        self._left = quotas.copy()

    def take(self, row: int) -> bool:
        """Count a chosen sample; return whether it was the last of its stratum."""
        code = self._codes[row]
        self._left[code] -= 1
        return bool(self._left[code] == 0)

    def has_room(self, rows: Any = slice(None)) -> BoolArray:
        """Return for each of the rows whether its stratum may have more."""
        return np.asarray(self._left[self._codes[rows]] > 0)

    def fitting(self, best_first: IndexArray) -> BoolArray:
        """Return which of the rows, in this order, are within the quotas."""
        codes = self._codes[best_first]
        return np.asarray(_place_in_stratum(codes) < self._left[codes])


def _place_in_stratum(codes: IndexArray) -> IndexArray:
    """Return for each entry how many earlier ones have the same code."""
    by_code = np.argsort(codes, kind="stable")
    ordered = codes[by_code]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, ordered.size))
    places = np.empty(codes.size, dtype=np.int64)
    places[by_code] = np.arange(codes.size) - np.repeat(starts, sizes)
    return places
