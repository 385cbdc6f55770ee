"""Baselines: other ways to choose as many samples from the same scoring, to tell whether a choice beats chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, IndexArray, Rewards, finite_matrix, finite_vector, require_size
from minirec.selection.learnability import learnability
from minirec.selection.rows import Double, Rows, Single
from minirec.selection.ties import merge_equal

KMEANS_ROUNDS: Final = 10
KMEANS_BUDGET: Final = 10**13
"""Most multiplications of k-means: some minutes on a few cores. Larger pools get fewer rounds, or none."""


class BaselineError(ValueError):
    """A baseline cannot be computed from what is known of the pool."""


@dataclass(frozen=True)
class Pool:
    """What is known of N samples, and how many of them to choose."""

    k: int
    rewards: FloatArray
    """(N, G)."""
    vectors: Any
    """(N, d) or None."""
    embeddings: Any
    """(N, e) or None."""
    target_probabilities: npt.ArrayLike | None
    """(N, G) or None."""
    seed: int
    tie_order: IndexArray
    """(N,) who goes first among equals: the smaller number."""

    def largest(self, values: FloatArray) -> IndexArray:
        """Return the k samples with the largest values, largest first; equal ones by `tie_order`."""
        return np.lexsort((self.tie_order, -merge_equal(values)))[: self.k]


def baseline(
    name: str,
    k: int,
    *,
    rewards: Rewards,
    vectors: Any = None,
    embeddings: Any = None,
    target_probabilities: npt.ArrayLike | None = None,
    seed: int = 42,
    tie_order: IndexArray | None = None,
) -> IndexArray:
    """Return the k samples that another way of choosing takes from the same pool, in its order of choice.

    Args:
        name: `random`: without replacement, every sample as likely as any other. `kmeans`: one sample per cluster of
            the unit embeddings, the one nearest to its centre. `grand`: the longest gradients. `el2n`: the largest
            error vectors p - e_y, by the part of them that scoring keeps, 1 - p of the target: the root of its mean
            square over the rollouts. `top_learnability`: the largest L, whatever the samples have in common.
        k: How many, 1 <= k <= N.
        rewards: (N, G) of the pool.
        vectors: (N, d), for `grand`.
        embeddings: (N, e), for `kmeans`.
        target_probabilities: (N, G), for `el2n`.
        seed: Of `random` and `kmeans`.
        tie_order: (N,) who goes first among equals (`minirec.selection.ties.tie_order`); positions without it.

    Returns:
        (k,) positions.

    Raises:
        BaselineError: There is no such baseline, it lacks what it needs, or k-means would take longer than its budget.
        ValueError: NaN or infinity (the message names the row), or k out of range.
    """
    values = finite_matrix(rewards, "rewards")
    n = len(values)
    require_size(k, n)
    if name not in CHOICES:
        raise BaselineError(f"there is no baseline {name!r}; there are {', '.join(CHOICES)}")
    order = np.arange(n) if tie_order is None else tie_order
    return CHOICES[name](Pool(k, values, vectors, embeddings, target_probabilities, seed, order))


def _random(pool: Pool) -> IndexArray:
    return np.random.default_rng(pool.seed).permutation(len(pool.rewards))[: pool.k]


def _top_learnability(pool: Pool) -> IndexArray:
    return pool.largest(learnability(pool.rewards, normalize=False))


def _grand(pool: Pool) -> IndexArray:
    return pool.largest(_norms(Rows(_needed(pool.vectors, "grand", "vectors"), "vectors")))


def _el2n(pool: Pool) -> IndexArray:
    targets = _needed(pool.target_probabilities, "el2n", "target_probabilities")
    errors = 1 - finite_matrix(targets, "target probabilities")
    return pool.largest(np.sqrt(np.square(errors).mean(axis=1)))


def _kmeans(pool: Pool) -> IndexArray:
    """Run spherical k-means from k random samples; return of each cluster the member nearest to its centre.

    Clusters that end up empty are made up for with the random samples that k-means started from.
    """
    rows = Rows(_needed(pool.embeddings, "kmeans", "embeddings"), "embeddings")
    rounds = _affordable_rounds(rows, pool.k)
    starts = np.random.default_rng(pool.seed).permutation(rows.n)[: pool.k]
    centres = _unit(rows.double(np.sort(starts)))
    for _ in range(rounds):
        cluster, _, sums = _assign(rows, centres)
        filled = np.linalg.norm(sums, axis=1) > 0
        centres[filled] = _unit(sums[filled])
    cluster, nearness, _ = _assign(rows, centres)
    by_nearness = np.lexsort((pool.tie_order, -nearness, cluster))
    _, first_of_cluster = np.unique(cluster[by_nearness], return_index=True)
    nearest = by_nearness[first_of_cluster]
    return np.concatenate([nearest, starts[~np.isin(starts, nearest)]])[: pool.k]


CHOICES: Final[Mapping[str, Callable[[Pool], IndexArray]]] = {
    "random": _random,
    "kmeans": _kmeans,
    "grand": _grand,
    "el2n": _el2n,
    "top_learnability": _top_learnability,
}


def _needed(signal: Any, name: str, what: str) -> Any:
    if signal is None:
        raise BaselineError(f"the baseline {name!r} needs {what}")
    return signal


def _norms(rows: Rows) -> FloatArray:
    norms = np.concatenate([np.linalg.norm(rows.double(block), axis=1) for block in rows.blocks()])
    return finite_vector(norms, rows.name)


def _affordable_rounds(rows: Rows, k: int) -> int:
    """Return how many rounds of k-means, and a last assignment, fit into the budget. Raises BaselineError for none."""
    one_round = rows.n * rows.d * k
    rounds: int = min(KMEANS_ROUNDS, KMEANS_BUDGET // one_round - 1)
    if rounds < 1:
        raise BaselineError(
            f"the baseline 'kmeans' would take {2 * one_round:.1e} multiplications for {k} clusters of {rows.n} "
            f"samples, more than the {KMEANS_BUDGET:.0e} that a comparison may cost"
        )
    return rounds


def _assign(rows: Rows, centres: Double) -> tuple[IndexArray, FloatArray, Double]:
    """Return each row's cluster and its cosine with that centre, and the sums of the clusters' unit rows."""
    cluster = np.empty(rows.n, dtype=np.int64)
    nearness = np.empty(rows.n)
    sums = np.zeros_like(centres)
    single: Single = centres.astype(np.float32)
    for block in rows.blocks():
        part = _unit(rows.double(block))
        if not np.isfinite(part).all():
            raise ValueError(f"{rows.name}: a row in {block.start} to {block.stop - 1} has NaN or infinity")
        cosines = part.astype(np.float32) @ single.T
        cluster[block] = cosines.argmax(axis=1)
        nearness[block] = cosines.max(axis=1)
        np.add.at(sums, cluster[block], part)
    return cluster, nearness, sums


def _unit(part: Double) -> Double:
    norms = np.linalg.norm(part, axis=1, keepdims=True)
    return np.asarray(part / np.where(norms > 0, norms, 1))
