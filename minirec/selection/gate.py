"""The gate: samples from which the policy cannot learn, because their rollouts all end alike."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import Hits, Rewards, finite_matrix, hit_matrix

OPEN: Final = 0
TOO_HARD: Final = 1
TOO_EASY: Final = 2

HIT_REWARD: Final = 1e-3
"""Reward from which a rollout counts as a hit where hits are not given. A miss ranks beyond K, so its target has a
probability below 1/K and its reward is below w/K: 5e-5 for w = 0.05 and K = 1,000. A hit has at least
(1 - w)/log2(K + 1): 0.095. 1e-3 lies between the two for every K from 50 up."""


def gate(
    rewards: Rewards,
    hits: Hits | None = None,
    *,
    too_easy_reward: float = 0.95,
    min_spread: float = 1e-3,
    hit_reward: float = HIT_REWARD,
) -> npt.NDArray[np.int8]:
    """Verdict on each sample: `OPEN` (0), `TOO_HARD` (1) or `TOO_EASY` (2) (docs/method.md, section 3).

    rewards (N, G) and hits (N, G) -> (N,). Too hard: no rollout hits. Too easy: every reward is above
    `too_easy_reward`, or every rollout hits and the rewards' population standard deviation is below `min_spread`.
    Without hits, a rollout hits when its reward is at least `hit_reward`.

    Raises ValueError for NaN or infinity (naming the row) and for shapes that differ.
    """
    values = finite_matrix(rewards, "rewards")
    hit = values >= hit_reward if hits is None else hit_matrix(hits, values.shape)
    # One rollout has no spread to judge by.
    alike = (values.std(axis=1) < min_spread) & (values.shape[1] > 1)
    too_easy = (values > too_easy_reward).all(axis=1) | (hit.all(axis=1) & alike)
    verdicts = np.where(too_easy, TOO_EASY, OPEN)
    return np.where(hit.any(axis=1), verdicts, TOO_HARD).astype(np.int8)
