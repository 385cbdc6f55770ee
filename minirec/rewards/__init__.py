"""Named rewards of text: built-in ones, and those that installed packages register (docs/rewards.md).

Pure Python: the service checks names with it, the workers compute with it.
"""

from minirec.rewards.builtin import BUILT_IN
from minirec.rewards.registry import GROUP, UnknownRewardError, known_rewards, load_reward
from minirec.rewards.reward import Reward, does_need_answer, needs_answer, summary_of
from minirec.rewards.scorer import RewardError, Scorer

__all__ = [
    "BUILT_IN",
    "GROUP",
    "Reward",
    "RewardError",
    "Scorer",
    "UnknownRewardError",
    "does_need_answer",
    "known_rewards",
    "load_reward",
    "needs_answer",
    "summary_of",
]
