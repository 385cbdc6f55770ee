"""What a policy's answers earn on held-out prompts: one greedy answer each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minirec.api_schemas import RolloutSettings, TextScore
from minirec.data.dataset import PromptDataset
from minirec.policy.answers import answer
from minirec.policy.policy import Policy
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.policy.rollouts import Sampling
from minirec.rewards import Scorer
from minirec.selection.gate import HIT_REWARD

BATCH = 64
"""Prompts between two calls of `on_prompts`, and more where a GPU takes more at once."""


@dataclass(frozen=True)
class TextEvaluation:
    """Means over prompts."""

    samples: int
    reward_mean: float
    pass_rate: float
    """Share of the answers that earn something."""

    @property
    def score(self) -> float:
        """The mean reward, which the best adapter is chosen by."""
        return self.reward_mean

    def summary(self) -> TextScore:
        """Return the same as the API shows it."""
        return TextScore(samples=self.samples, reward_mean=self.reward_mean, pass_rate=self.pass_rate)


def evaluate_text(
    policy: Policy,
    *,
    dataset: PromptDataset,
    rows: Sequence[int],
    scorer: Scorer,
    rollouts: RolloutSettings,
    on_prompts: Callable[[int], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> TextEvaluation:
    """Answer prompts greedily, so that no seed plays a part, and score the answers.

    Args:
        policy: The model to evaluate.
        dataset: The prompts.
        rows: Rows of the prompts to evaluate on.
        scorer: The rewards.
        rollouts: Limits of the answers; group size and sampling make no difference.
        on_prompts: Called with the number of prompts done; may raise to stop.
        ranks: With several processes, each evaluates a part and returns the whole.

    Raises:
        ValueError: There are no rows.
        RewardError: A reward failed.
    """
    if not len(rows):
        raise ValueError("there are no prompts to evaluate on")
    own = rows[ranks.share(len(rows))]
    earned: list[float] = []
    size = max(BATCH, policy.samples_at_once(1))
    for start in range(0, len(own), size):
        prompts = [dataset.prompt(int(row)) for row in own[start : start + size]]
        greedy = np.zeros((len(prompts), 1, rollouts.max_new_tokens))
        earned += answer(policy, prompts, greedy, Sampling.of(rollouts), scorer).reward[:, 0].tolist()
        if on_prompts is not None:
            on_prompts(start + len(prompts))
    reward = np.array(ranks.gather(earned))
    return TextEvaluation(len(reward), float(reward.mean()), float((reward >= HIT_REWARD).mean()))
