"""What completions of a prompt earn: the weighted sum of the rewards that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from minirec.api_schemas.common import LARGEST_FLOAT
from minirec.api_schemas.rewards import TextReward
from minirec.rewards.registry import load_reward
from minirec.rewards.reward import Reward, does_need_answer


class RewardError(ValueError):
    """A reward failed, or gave no number; says which, and for which sample."""


class Scorer:
    """Rewards of completions, by the names and weights of a request."""

    def __init__(self, rewards: Sequence[TextReward]) -> None:
        """Load the rewards by name. Raises UnknownRewardError."""
        self._rewards: list[tuple[str, float, Reward]] = [
            (reward.name, reward.weight, load_reward(reward.name)) for reward in rewards
        ]

    @property
    def needs_answer(self) -> list[str]:
        """Names of the rewards that say that they compare with the row's answer."""
        return [name for name, _, reward in self._rewards if does_need_answer(reward)]

    def __call__(self, completion: str, row: Mapping[str, Any]) -> float:
        """Return what one completion of a prompt's row earns. Raises RewardError."""
        total = sum(weight * self._reward_of(name, reward, completion, row) for name, weight, reward in self._rewards)
        if not abs(total) <= LARGEST_FLOAT:
            raise RewardError(f"the rewards of sample {row['id']!r} add up to {total}: lower their weights")
        return total

    def _reward_of(self, name: str, reward: Reward, completion: str, row: Mapping[str, Any]) -> float:
        answer = row.get("answer")
        if answer is None and does_need_answer(reward):
            raise RewardError(f"sample {row['id']!r} has no answer, and the reward {name!r} compares with it")
        try:
            value = float(reward(completion, answer, row))
        except Exception as error:
            raise RewardError(
                f"the reward {name!r} failed for sample {row['id']!r}: {type(error).__name__}: {error}"
            ) from error
        if not isfinite(value):
            raise RewardError(f"the reward {name!r} gave {value} for sample {row['id']!r}")
        return value
