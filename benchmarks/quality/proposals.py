"""Other ways to make MiniRec's score, to find out which parts of the method hold it back.

Each differs from the arm "MiniRec" in the one point that its name says.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

import numpy as np

from benchmarks.quality.data import Rows
from minirec.selection import curriculum, gate, learnability, representativeness, select_diverse
from minirec.selection.checks import FloatArray, min_max
from minirec.selection.gate import OPEN
from worker.measured import Measured

GROUP_SIZE: Final = 64
Score = Callable[[Measured], FloatArray]


def scored_by(score: Score, *, diverse: bool = True, easy_first: bool = True) -> Callable[[Measured, int, int], Rows]:
    """The gate, a choice by a score of its own (a diverse one, or the best), and the curriculum or a random order."""

    def pick(measured: Measured, size: int, seed: int) -> Rows:
        is_open = gate(measured.rewards, measured.hits) == OPEN
        scores = score(measured)
        if diverse:
            chosen = select_diverse(measured.embeddings, scores, size, eligible=is_open).indices
        else:
            chosen = np.lexsort((-scores, ~is_open))[:size]
        if not easy_first:
            return np.random.default_rng(seed).permutation(chosen)
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


def total(measured: Measured) -> FloatArray:
    """L plus R, as MiniRec has it."""
    return learnability(measured.rewards) + representativeness(measured.vectors)


def agreement(measured: Measured) -> FloatArray:
    """R alone."""
    return representativeness(measured.vectors)


def even(measured: Measured) -> FloatArray:
    """No score: diversity alone."""
    return np.ones(len(measured.rewards))


def shortfall(measured: Measured) -> FloatArray:
    """L as the reward that is missing: the harder the better, as long as a rollout hits."""
    return min_max(-measured.rewards.mean(axis=1)) + representativeness(measured.vectors)


PROPOSALS: Final = {
    "MiniRec, R teacher-forced": scored_by(total),
    "MiniRec, R teacher-forced, mu at the pool's mean": scored_by(pool_mean),
    "MiniRec, R teacher-forced and alone": scored_by(agreement),
    "MiniRec, mu at the pool's mean": scored_by(pool_mean),
    "MiniRec, L from the group's spread": scored_by(spread),
    "MiniRec, L times R": scored_by(product),
    "MiniRec, R alone": scored_by(agreement),
    "MiniRec, R alone, without curriculum": scored_by(agreement, easy_first=False),
    "MiniRec, R alone, without diversity and curriculum": scored_by(agreement, diverse=False, easy_first=False),
    "MiniRec, L + R, without diversity and curriculum": scored_by(total, diverse=False, easy_first=False),
    "MiniRec, diversity alone": scored_by(even),
    "MiniRec, L as missing reward": scored_by(shortfall),
}
TEACHER: Final = tuple(name for name in PROPOSALS if "teacher-forced" in name)
"""Those whose vectors are the gradients with A = 1 for every rollout."""
