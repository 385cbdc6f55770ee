"""What a reward is, and what it says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Reward = Callable[[str, Any, Mapping[str, Any]], float]
"""(completion, the prompt's answer or None, all fields of the prompt's row) -> reward."""

Function = TypeVar("Function", bound=Callable[..., float])
ATTRIBUTE = "needs_answer"


def needs_answer(function: Function) -> Function:
    """Mark a reward that compares with the prompt's answer: prompts without one are refused before any is scored.

    A reward without the mark is called with `None` where a prompt has no answer.
    """
    setattr(function, ATTRIBUTE, True)
    return function


def does_need_answer(reward: Reward) -> bool:
    """Return whether a reward is marked as one that compares with the prompt's answer."""
    return bool(getattr(reward, ATTRIBUTE, False))


def summary_of(reward: Reward) -> str:
    """Return what a reward pays for, in one line: the first of its function's docstring, which may be empty."""
    return (inspect.getdoc(reward) or "").partition("\n")[0]
