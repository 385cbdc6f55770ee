"""The gate: samples from which the policy cannot learn, because their rollouts all end alike."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import Hits, Rewards, finite_matrix, hit_matrix

OPEN: Final = 0
TOO_HARD: Final = 1
TOO_EASY: Final = 2
NO_SPREAD: Final = 3

TOO_EASY_REWARD: Final = 0.95
MIN_SPREAD: Final = 1e-3
HIT_REWARD: Final = 1e-3
"""Reward from which a rollout counts as a hit where hits are not given. A miss ranks beyond K, so its target has a
probability below 1/K and its reward is below w/K: 5e-5 for w = 0.05 and K = 1,000. A hit has at least
(1 - w)/log2(K + 1): 0.095. 1e-3 lies between the two for every K from 50 up."""


def gate(
    rewards: Rewards,
    hits: Hits | None = None,
    *,
    too_easy_reward: float = TOO_EASY_REWARD,
    min_spread: float = MIN_SPREAD,
    hit_reward: float = HIT_REWARD,
) -> npt.NDArray[np.int8]:
    """Judge each sample: `OPEN` (0), `TOO_HARD` (1), `TOO_EASY` (2) or `NO_SPREAD` (3) (docs/method.md, section 3).

    Args:
        rewards: (N, G) of the pool.
        hits: (N, G); without them, a rollout hits when its reward is at least `hit_reward`.
        too_easy_reward: Too easy is a sample whose every reward is above this.
        min_spread: Without spread is a sample whose every rollout hits, with a population standard deviation of the
            rewards below this. One rollout has no spread to judge by.
        hit_reward: See `hits`.

    Returns:
        (N,) verdicts. Too hard is a sample that no rollout hits, whatever its rewards.

    Raises:
        ValueError: NaN or infinity (the message names the row), or shapes that differ.
    """
    values = finite_matrix(rewards, "rewards")
    hit = values >= hit_reward if hits is None else hit_matrix(hits, values.shape)
    alike = (values.std(axis=1) < min_spread) & (values.shape[1] > 1)
    verdicts = np.where(hit.all(axis=1) & alike, NO_SPREAD, OPEN)
    verdicts = np.where((values > too_easy_reward).all(axis=1), TOO_EASY, verdicts)
    return np.where(hit.any(axis=1), verdicts, TOO_HARD).astype(np.int8)
