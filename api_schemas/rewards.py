"""Named rewards of text: what a prompt's answer earns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api_schemas.common import Positive, Request

REWARD_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}$"


class TextReward(Request):
    """One of the rewards that a completion earns; theirs are added up (docs/rewards.md)."""

    name: Annotated[str, Field(pattern=REWARD_NAME)]
    """One that is built in (docs/rewards.md), or one of an installed package; `minirec rewards` lists both."""
    weight: Positive = 1.0


Rewards = Annotated[list[TextReward], Field(min_length=1, max_length=16)]
