"""Warnings about a selection, and the reason why one is empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import BoolArray, FloatArray, IndexArray
from minirec.selection.gate import HIT_REWARD, NO_SPREAD, TOO_EASY, TOO_EASY_REWARD, TOO_HARD
from minirec.selection.learnability import MU

FEW_OPEN: Final = 0.1
"""A gate that leaves less of the pool than this is worth a warning."""
NO_REWARD: Final = (
    "Likely causes: the answers do not have the form that the reward reads, generation ends before the answer "
    "(max_new_tokens), the policy was never trained on the task, or what was uploaded is not the reward"
)


@dataclass(frozen=True)
class Scale:
    """The numbers that rewards are held against."""

    has_hits: bool
    """Whether hits were given beside the rewards."""
    mu: float
    too_easy_reward: float

    def finding(self, low: float, high: float) -> str:
        """Say what rewards from `low` to `high` do to the gate and to L, and how to mend it."""
        hits = "" if self.has_hits else f"a rollout hits from a reward of {HIT_REWARD:g}, "
        missing = "" if self.has_hits else "hit for each rollout, "
        return (
            f"rewards go from {low:g} to {high:g}, and the method expects 0 to 1: {hits}a sample is too easy when all "
            f"its rewards are above {self.too_easy_reward:g}, and L is largest at a mean reward of {self.mu:g}. Scale "
            f"the rewards to 0 to 1, or give {missing}mu and too_easy_reward on their scale"
        )


def gate_warnings(is_open: BoolArray, k: int, backfilled: int) -> list[str]:
    """Warn of a gate that leaves little, or too little for k samples."""
    n, n_open = is_open.size, int(np.count_nonzero(is_open))
    warnings = []
    if n_open < FEW_OPEN * n:
        warnings.append(f"only {n_open} of {n} samples ({n_open / n:.1%}) pass the gate")
    if backfilled:
        warnings.append(f"{backfilled} of the {k} selected samples are gated: only {n_open} samples pass the gate")
    return warnings


def reward_warnings(rewards: FloatArray, scale: Scale) -> list[str]:
    """Warn of rewards that say nothing, or that are on another scale than the method's numbers.

    Rewards outside 0 to 1 are fine where hits were given and `mu` and `too_easy_reward` were moved.
    """
    low, high = float(rewards.min()), float(rewards.max())
    warnings = []
    if low == high:
        cause = NO_REWARD if high == 0 else "The rewards cannot tell one sample from another"
        warnings.append(f"every rollout of every sample has the reward {high:g}. {cause}")
    is_adapted = scale.has_hits and scale.mu != MU and scale.too_easy_reward != TOO_EASY_REWARD
    if is_outside(rewards) and not is_adapted:
        warnings.append(scale.finding(low, high))
    return warnings


def is_outside(rewards: FloatArray) -> bool:
    """Return whether rewards leave 0 to 1, by more than rounding."""
    return bool(rewards.min() < -1e-9 or rewards.max() > 1 + 1e-9)


def tie_warning(
    *,
    scores: FloatArray,
    is_open: BoolArray,
    codes: IndexArray | None,
    indices: IndexArray,
    n_by_score: int,
    has_embeddings: bool,
    how: str,
) -> list[str]:
    """Warn where a choice by score took some of several equal samples and left others.

    Args:
        scores: (N,) with values that differ by rounding merged.
        is_open: (N,) whether a sample passes the gate; open samples are chosen first.
        codes: (N,) stratum of each sample, where there are strata.
        indices: (k,) the choice.
        n_by_score: How many of them, the last ones, were chosen by score alone.
        has_embeddings: Whether the samples have embeddings, which tell equal scores apart.
        how: What decided among equals, in words.
    """
    if n_by_score == 0:
        return []
    is_chosen = np.zeros(scores.size, dtype=np.int64)
    is_chosen[indices] = 1
    by_score = np.zeros(scores.size, dtype=bool)
    by_score[indices[indices.size - n_by_score :]] = True
    which = np.flatnonzero(by_score | (is_chosen == 0))
    _, level = np.unique(scores[which], return_inverse=True)
    strata = np.zeros(which.size, dtype=np.int64) if codes is None else codes[which]
    _, group = np.unique((level * (int(strata.max(initial=0)) + 1) + strata) * 2 + is_open[which], return_inverse=True)
    size, chosen = np.bincount(group), np.bincount(group, weights=is_chosen[which]).astype(np.int64)
    is_cut = (chosen > 0) & (chosen < size)
    if not is_cut.any():
        return []
    tied, taken = int(size[is_cut].sum()), int(chosen[is_cut].sum())
    would_help = [
        *([] if has_embeddings else ["embeddings"]),
        "more rollouts per sample",
        *(["stratify_by"] if codes is None else []),
    ]
    where = "at the cut" if codes is None else "at the cuts of their strata"
    return [
        f"{tied} samples tie {where}, and {taken} of them were chosen {how}, not for a reason. "
        f"What would tell them apart: {', '.join(would_help)}"
    ]


def nothing_open(rewards: FloatArray, verdicts: npt.NDArray[np.int8], scale: Scale) -> str:
    """Say what the rewards of a pool look like that the gate leaves nothing of, and what to do."""
    means = rewards.mean(axis=1)
    hard, easy, alike = (int(np.count_nonzero(verdicts == code)) for code in (TOO_HARD, TOO_EASY, NO_SPREAD))
    low, middle, high = np.quantile(means, [0, 0.5, 1])
    if is_outside(rewards):
        found = scale.finding(float(rewards.min()), float(rewards.max()))
        advice = found[0].upper() + found[1:]
    elif rewards.max() == 0:
        advice = f"Every reward is 0. {NO_REWARD}"
    elif hard >= max(easy, alike):
        advice = (
            "Hardly any rollout hits: take a policy with a training run behind it (an adapter, or a proxy), let it "
            "write longer (max_new_tokens), or take easier samples"
        )
    elif easy >= alike:
        advice = "The policy solves the pool already: take harder samples, or raise too_easy_reward"
    else:
        advice = (
            "The rollouts of a sample agree: more rollouts or a higher temperature would spread them; "
            "or lower min_spread"
        )
    return (
        f"the gate leaves none of {means.size} samples: {hard} are too hard (no rollout hits), {easy} too easy (every "
        f"reward above {scale.too_easy_reward:g}) and {alike} without spread (all rollouts hit, and earn the same). "
        f"Mean rewards: {low:.3g} at least, {middle:.3g} in the middle, {high:.3g} at most; "
        f"{np.mean(means < 1e-5):.0%} below 1e-5. {advice}."
    )
