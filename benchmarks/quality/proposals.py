"""Other ways to make MiniRec's score, to find out which parts of the method hold it back."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from benchmarks.quality.data import Rows
from minirec.selection import curriculum, gate, learnability, representativeness, select_diverse
from minirec.selection.checks import FloatArray, min_max
from minirec.selection.gate import OPEN
from worker.measured import Measured

GROUP_SIZE: Final = 64
Score = Callable[[Measured], FloatArray]


def scored_by(score: Score) -> Callable[[Measured, int, int], Rows]:
    """The gate, a diverse choice by a score of its own, and the curriculum."""

    def pick(measured: Measured, size: int, seed: int) -> Rows:
        is_open = gate(measured.rewards, measured.hits) == OPEN
        chosen = select_diverse(measured.embeddings, score(measured), size, eligible=is_open).indices
        return curriculum(measured.rewards.mean(axis=1), chosen, groups=ceil(size / GROUP_SIZE), seed=seed)

    return pick


def pool_mean(measured: Measured) -> FloatArray:
    """L around the pool's own mean reward instead of 0.5."""
    centre = float(measured.rewards.mean())
    return learnability(measured.rewards, mu=centre) + representativeness(measured.vectors)


def spread(measured: Measured) -> FloatArray:
    """L as the standard deviation of the rewards within the group: what advantages are made of."""
    return min_max(measured.rewards.std(axis=1)) + representativeness(measured.vectors)


def product(measured: Measured) -> FloatArray:
    """L times R: a sample must be good at both."""
    return learnability(measured.rewards) * representativeness(measured.vectors)


def outcome_variance(measured: Measured) -> FloatArray:
    """L as p(1 - p) of the rollouts' outcomes: zero where all hit or none does."""
    assert measured.hits is not None
    solved = measured.hits.mean(axis=1)
    return min_max(solved * (1 - solved)) + representativeness(measured.vectors)


def shortfall(measured: Measured) -> FloatArray:
    """L as the reward that is missing: the harder the better, as long as a rollout hits."""
    return min_max(-measured.rewards.mean(axis=1)) + representativeness(measured.vectors)


PROPOSALS: Final = {
    "MiniRec, L around the pool's mean": scored_by(pool_mean),
    "MiniRec, L from the group's spread": scored_by(spread),
    "MiniRec, L from outcome variance": scored_by(outcome_variance),
    "MiniRec, L as missing reward": scored_by(shortfall),
    "MiniRec, L times R": scored_by(product),
}
