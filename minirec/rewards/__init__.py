"""Named rewards of text: built-in ones, and those that installed packages register (docs/rewards.md).

Pure Python: the service checks names with it, the workers compute with it.
"""

from minirec.rewards.registry import GROUP, UnknownRewardError, known_rewards, load_reward
from minirec.rewards.reward import Reward, needs_answer
from minirec.rewards.scorer import RewardError, Scorer

__all__ = [
    "GROUP",
    "Reward",
    "RewardError",
    "Scorer",
    "UnknownRewardError",
    "known_rewards",
    "load_reward",
    "needs_answer",
]
