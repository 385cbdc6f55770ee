"""Baseline arms: other ways to choose as many samples from the same scoring, to tell whether a choice beats chance."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, IndexArray, Rewards, finite_matrix, finite_vector, require_size
from minirec.selection.learnability import learnability
from minirec.selection.rows import Double, Rows, Single

Arm = Literal["random", "kmeans", "grand", "el2n", "top_learnability"]
KMEANS_ROUNDS: Final = 10


def baseline(
    arm: Arm,
    k: int,
    *,
    rewards: Rewards,
    vectors: Any = None,
    embeddings: Any = None,
    target_probabilities: npt.ArrayLike | None = None,
    seed: int = 42,
) -> IndexArray:
    """The k samples that another way of choosing takes from the same pool.

    rewards (N, G) of the pool, vectors (N, d), embeddings (N, e), target_probabilities (N, G) -> (k,).

    - `random`: without replacement, every sample as likely as any other.
    - `kmeans`: one sample per cluster of the unit embeddings, the one nearest to its centre.
    - `grand`: the longest gradients (needs vectors).
    - `el2n`: the largest error vectors p - e_y, by the part of them that scoring keeps, 1 - p of the target: the root
      of its mean square over the rollouts (needs target_probabilities).
    - `top_learnability`: the largest L, whatever the samples have in common.

    Equal values go by position. Raises ValueError for an unknown arm, for a signal that the arm needs and does not
    get, for NaN or infinity (naming the row) and unless 1 <= k <= N.
    """
    means = finite_matrix(rewards, "rewards").mean(axis=1)
    require_size(k, means.size)
    if arm == "random":
        return np.random.default_rng(seed).permutation(means.size)[:k]
    if arm == "top_learnability":
        return _largest_first(learnability(rewards), k)
    if arm == "grand":
        return _largest_first(_norms(Rows(_needed(vectors, arm, "vectors"), "vectors")), k)
    if arm == "el2n":
        targets = _needed(target_probabilities, arm, "target_probabilities")
        errors = 1 - finite_matrix(targets, "target probabilities")
        return _largest_first(np.sqrt(np.square(errors).mean(axis=1)), k)
    if arm == "kmeans":
        return _nearest_to_centres(Rows(_needed(embeddings, arm, "embeddings"), "embeddings"), k, seed)
    raise ValueError(f"there is no baseline {arm!r}; there are {', '.join(get_args(Arm))}")


def _needed(signal: Any, arm: str, name: str) -> Any:
    if signal is None:
        raise ValueError(f"the baseline {arm!r} needs {name}")
    return signal


def _largest_first(values: FloatArray, k: int) -> IndexArray:
    return np.argsort(-values, kind="stable")[:k]


def _norms(rows: Rows) -> FloatArray:
    norms = np.concatenate([np.linalg.norm(rows.double(block), axis=1) for block in rows.blocks()])
    return finite_vector(norms, rows.name)


def _nearest_to_centres(rows: Rows, k: int, seed: int) -> IndexArray:
    """Spherical k-means from k random samples; of each cluster the member nearest to its centre.

    Clusters that end up empty are made up for with the random samples that k-means started from.
    """
    starts = np.random.default_rng(seed).permutation(rows.n)[:k]
    centres = _unit(rows.double(np.sort(starts)))
    for _ in range(KMEANS_ROUNDS):
        cluster, _, sums = _assign(rows, centres)
        filled = np.linalg.norm(sums, axis=1) > 0
        centres[filled] = _unit(sums[filled])
    cluster, nearness, _ = _assign(rows, centres)
    by_nearness = np.lexsort((-nearness, cluster))
    _, first_of_cluster = np.unique(cluster[by_nearness], return_index=True)
    nearest = by_nearness[first_of_cluster]
    return np.concatenate([nearest, starts[~np.isin(starts, nearest)]])[:k]


def _assign(rows: Rows, centres: Double) -> tuple[IndexArray, FloatArray, Double]:
    """Each row's cluster and its cosine with that centre; the sums of the clusters' unit rows."""
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
