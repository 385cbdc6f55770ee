"""Rewards by name: the built-in ones, and the entry points of installed packages.

A package registers a function under `[project.entry-points."minirec.rewards"]` in its pyproject.toml:

    title_length = "my_package.rewards:title_length"

A function that compares with the prompt's answer says so with `@needs_answer`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from minirec.rewards.builtin import BUILT_IN
from minirec.rewards.reward import Reward

GROUP = "minirec.rewards"
"""Group of the entry points."""


class UnknownRewardError(ValueError):
    """There is no reward of this name here, or it cannot be loaded."""


def known_rewards() -> list[str]:
    """Return the names that `load_reward` takes, the built-in ones first."""
    return [*BUILT_IN, *sorted(set(_registered()) - set(BUILT_IN))]


def load_reward(name: str) -> Reward:
    """Return a reward by its name. Raises UnknownRewardError."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    entry = _registered().get(name)
    if entry is None:
        raise UnknownRewardError(f"there is no reward {name!r} here; there are {', '.join(known_rewards())}")
    try:
        reward: Reward = entry.load()
    except Exception as error:
        raise UnknownRewardError(f"the reward {name!r} ({entry.value}) cannot be loaded: {error}") from error
    if not callable(reward):
        raise UnknownRewardError(f"the reward {name!r} ({entry.value}) is no function")
    return reward


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
