"""Named rewards of text: what a prompt's answer earns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minirec.api_schemas.common import Positive, Request, Response

REWARD_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}$"


class TextReward(Request):
    """One of the rewards that a completion earns; theirs are added up (docs/rewards.md)."""

    name: Annotated[str, Field(pattern=REWARD_NAME)]
    """One that is built in (docs/rewards.md), or one of an installed package; `minirec rewards` lists both."""
    weight: Positive = 1.0
    """Multiplies what it gives before the rewards are added up."""


Rewards = Annotated[list[TextReward], Field(min_length=1, max_length=16)]


class Reward(Response):
    """A reward of text that requests may name."""

    object: Literal["reward"] = "reward"
    """Always `reward`."""
    name: str
    """What requests call it."""
    built_in: bool
    """Whether it is one of the service's own; others come from packages that are installed beside it."""
    summary: str
    """What it pays for, in a sentence."""
    needs_answer: bool | None = None
    """Whether every prompt must have an `answer` to compare with; null where `error` is given."""
    parameters: dict[str, Any] = {}
    """By name, the JSON Schema of what a request may say beside `name`."""
    error: str | None = None
    """Why it cannot be used: its package does not load. Null where it can."""
