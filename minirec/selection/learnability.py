"""Learnability: how close a sample's mean reward is to where learning happens."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from minirec.selection.checks import FloatArray, Rewards, finite_matrix, min_max

MU: Final = 0.5
"""Mean reward at which a sample is most learnable."""
SIGMA_FLOOR: Final = 0.1
"""Least width taken from a pool. Below it the bell of a pool of near-zero rewards falls under the 1e-12 of the
min-max and every L becomes the same number; at 0.1 a sample that is never solved still has exp(-12.5) = 4e-6."""


def learnability(
    rewards: Rewards, *, mu: float = MU, sigma: float | Literal["pool"] = "pool", normalize: bool = True
) -> FloatArray:
    """Return L of each sample, from its rollouts' rewards (docs/method.md, section 3).

    rewards (N, G) -> (N,): exp(-(mean - mu)^2 / (2 sigma^2)), then moved to [0, 1] over the pool; `normalize=False`
    leaves that out. `sigma="pool"` is the population standard deviation of the N mean rewards, at least `SIGMA_FLOOR`.

    Raises ValueError for NaN or infinity (naming the row), rows of different length and a sigma that is not positive.
    """
    means = finite_matrix(rewards, "rewards").mean(axis=1)
    width = max(float(means.std()), SIGMA_FLOOR) if sigma == "pool" else sigma
    if sigma == "pool" and not np.isfinite(width):
        raise ValueError("the rewards are too large to compute with: the square of their spread is no number")
    if not 0 < width < np.inf:
        raise ValueError(f"sigma must be a positive number or 'pool', not {sigma}")
    raw = np.exp(-np.square(means - mu) / (2 * width * width))
    return min_max(raw) if normalize else raw
