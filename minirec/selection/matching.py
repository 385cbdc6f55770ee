"""Matching: the samples whose gradients together come nearest to a mean gradient (docs/method.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import BoolArray, FloatArray, IndexArray, RowError, require_size
from minirec.selection.rows import BLOCK_BYTES, Rows, Single
from minirec.selection.strata import Quotas, proportional_quotas, stratum_codes

PASSES: Final = 128
"""Times that all rows are read. Up to so many choices every one is made on all rows; of more, several at a time are
made among those that were the best at the last reading."""
CANDIDATES: Final = 16
"""Rows looked at for each choice that is made between two readings."""
TIE: Final = 1e-6
"""Gains this close to the largest are tied: float32 products of unit vectors are not more exact."""
LAST: Final = -10.0
"""Gain of a row without a gradient: below that of any other, since those lie between -3 and 1."""


class Gradients(NamedTuple):
    """What the gradients of samples are made of."""

    vectors: Any
    """(N, d) gradients in the space of z. Zero rows have none."""
    embeddings: Any = None
    """(N, e) the users' vectors; without them, z is all that is moved."""


@dataclass(frozen=True)
class MatchingChoice:
    """Rows in the order in which they were chosen."""

    indices: IndexArray
    """(k,) positions of the chosen rows."""
    agreement: FloatArray
    """(N,) inner product of each row's gradient with the mean that is matched, from -1 to 1."""


def select_matching(
    gradients: Gradients,
    k: int,
    *,
    towards: Gradients | None = None,
    eligible: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    tie_order: IndexArray | None = None,
) -> MatchingChoice:
    """Choose k rows one by one, each so that the mean gradient of the choice comes nearest to a wanted mean.

    The gradient is that of a linear layer that reads a sample's user vector u and writes z: the outer product of its
    gradient in z and u, both at unit length. Inner products of two samples are those of their gradients times those of
    their user vectors. Known as herding (Welling, 2009); as a choice of training samples cf. GRAD-MATCH (Killamsetty et
    al., 2021).

    Args:
        gradients: Of the N rows, of any floating-point type, memory-mapped or torch tensors.
        k: How many rows to choose.
        towards: Of the samples whose mean gradient is wanted; the rows themselves without it.
        eligible: (N,) booleans. Rows that are not are chosen only after all that are, by the same rule.
        strata: (N,) values; of rows with the same one no more are chosen than their share of `k`.
        tie_order: (N,) who goes first among equals; positions without it.

    Returns:
        The k rows, and how well every row agrees with what is wanted.

    Raises:
        RowError: NaN or infinity, or an embedding of zeros.
        ValueError: Arrays that disagree in their shapes, or k > N.
    """
    layer = _Layer.of(gradients)
    n = len(layer.vectors)
    require_size(k, n)
    wanted = layer.mean() if towards is None else _Layer.of(towards).mean()
    agreement = layer.along(wanted)
    allowed = np.ones(n, dtype=bool) if eligible is None else np.asarray(eligible, dtype=bool)
    order = np.arange(n) if tie_order is None else tie_order
    codes = None if strata is None else stratum_codes(strata, n)
    greedy = _Greedy(layer, agreement, order, max(1, ceil(k / PASSES)))
    n_open = int(np.count_nonzero(allowed))
    for among, count in ((allowed, min(k, n_open)), (~allowed, k - min(k, n_open))):
        if count:
            quotas = None
            if codes is not None:
                quotas = Quotas(codes, proportional_quotas(codes, among, count, agreement, order))
            greedy.choose(count, among, quotas)
    return MatchingChoice(np.array(greedy.chosen, dtype=np.int64), agreement)


@dataclass(frozen=True)
class _Layer:
    """Unit gradients in z, and the unit vectors that the layer reads."""

    vectors: Single
    embeddings: Single | None

    @classmethod
    def of(cls, gradients: Gradients) -> _Layer:
        vectors = _units(gradients.vectors, "vectors")
        if gradients.embeddings is None:
            return cls(vectors, None)
        embeddings = _units(gradients.embeddings, "embeddings")
        if len(embeddings) != len(vectors):
            raise ValueError(f"there are {len(vectors)} vectors and {len(embeddings)} embeddings: one each is needed")
        return cls(vectors, embeddings)

    def mean(self) -> Single:
        """(d, e), the mean of the outer products, or (d,) without embeddings; over those rows that have a gradient."""
        count = max(1, int(np.count_nonzero(self.vectors.any(axis=1))))
        total = self.vectors.sum(axis=0) if self.embeddings is None else self.vectors.T @ self.embeddings
        return np.asarray(total / count, dtype=np.float32)

    def sums(self, of: IndexArray) -> FloatArray:
        """(N,) sums of each row's inner products with the rows `of`."""
        if of.size == 1:
            return self.products(of)[:, 0].astype(np.float64)
        d, e = self.vectors.shape[1], 0 if self.embeddings is None else self.embeddings.shape[1]
        n = len(self.vectors)
        total: Single | None = None
        if self.embeddings is None:
            total = self.vectors[of].sum(axis=0)
        elif of.size * (d + e) > d * e:  # Their sum is smaller than all of them.
            total = self.vectors[of].T @ self.embeddings[of]
        found = np.empty(n)
        step = max(256, BLOCK_BYTES // (4 * max(d, e, 1 if total is not None else of.size)))
        for start in range(0, n, step):
            part = slice(start, start + step)
            found[part] = self.products(of, part).sum(axis=1) if total is None else self._along(total, part)
        return found

    def along(self, mean: Single) -> FloatArray:
        """(N,) inner products of the rows with a mean."""
        if (mean.ndim == 1) != (self.embeddings is None):
            raise ValueError("embeddings must be given on both sides, or on neither")
        step = max(256, BLOCK_BYTES // (4 * self.vectors.shape[1]))
        starts = range(0, len(self.vectors), step)
        return np.concatenate([self._along(mean, slice(start, start + step)) for start in starts]).astype(np.float64)

    def _along(self, total: Single, rows: slice) -> Single:
        found = self.vectors[rows] @ total
        if self.embeddings is not None:
            found = np.einsum("ij,ij->i", found, self.embeddings[rows])
        return np.asarray(found)

    def products(self, rows: IndexArray, of: IndexArray | slice = slice(None)) -> Single:
        """(len(of), len(rows)) inner products."""
        found = self.vectors[of] @ self.vectors[rows].T
        if self.embeddings is not None:
            found *= self.embeddings[of] @ self.embeddings[rows].T
        return found


class _Greedy:
    """What was chosen so far, and what that means for every row."""

    def __init__(self, layer: _Layer, agreement: FloatArray, order: IndexArray, block: int) -> None:
        self._layer = layer
        self._agreement = np.where(layer.vectors.any(axis=1), agreement, LAST)
        self._order = order
        self._block = block
        self._total = np.zeros(len(agreement))
        """(N,) sum of the products with the rows that are chosen."""
        self._free = np.ones(len(agreement), dtype=bool)
        self.chosen: list[int] = []

    def choose(self, count: int, among: BoolArray, quotas: Quotas | None) -> None:
        """Choose that many more rows of those marked in `among`."""
        last = len(self.chosen) + count
        while len(self.chosen) < last:
            may = self._free & among if quotas is None else self._free & among & quotas.has_room()
            new = self._choose_block(min(self._block, last - len(self.chosen)), np.flatnonzero(may), quotas)
            self._total += self._layer.sums(new)

    def _choose_block(self, count: int, rows: IndexArray, quotas: Quotas | None) -> IndexArray:
        """Choose up to that many rows among the best ones; fewer where their strata are full before."""
        if count > 1 and rows.size > CANDIDATES * count:
            gains = self._gains(rows, self._total[rows])
            rows = rows[np.argpartition(-gains, CANDIDATES * count)[: CANDIDATES * count]]
        total = self._total[rows]
        new: list[int] = []
        while len(new) < count:
            may = self._free[rows] if quotas is None else self._free[rows] & quotas.has_room(rows)
            if not may.any():
                break
            gains = np.where(may, self._gains(rows, total), -np.inf)
            tied = np.flatnonzero(gains >= gains.max() - TIE)
            row = rows[tied[np.argmin(self._order[rows[tied]])]]
            self._free[row] = False
            self.chosen.append(int(row))
            new.append(int(row))
            if quotas is not None:
                quotas.take(int(row))
            if len(new) < count:
                total += self._layer.products(np.array([row]), rows)[:, 0]
        return np.array(new, dtype=np.int64)

    def _gains(self, rows: IndexArray, total: FloatArray) -> FloatArray:
        """Return how much nearer each of the rows would bring the mean, up to what they have in common."""
        return self._agreement[rows] - total / (len(self.chosen) + 1)


def _units(values: Any, name: str) -> Single:
    """Return rows of length 1 in float32; zero rows stay zero among vectors, and are refused among embeddings."""
    rows = Rows(values, name)
    found = np.empty((rows.n, rows.d), dtype=np.float32)
    for block in rows.blocks():
        part = rows.double(block)
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if bad.size:
            raise RowError(name, block.start + int(bad[0]), "has NaN or infinity")
        # Divided by its largest entry first, so that squaring neither overflows nor underflows.
        largest = np.abs(part).max(axis=1, keepdims=True)
        if name == "embeddings" and not largest.all():
            raise RowError(name, block.start + int(np.flatnonzero(largest[:, 0] == 0)[0]), "is all zeros")
        part = part / np.where(largest > 0, largest, 1)
        norms = np.linalg.norm(part, axis=1, keepdims=True)
        found[block] = part / np.where(norms > 0, norms, 1)
    return found
