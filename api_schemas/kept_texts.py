"""How much of the rollouts' texts is kept beside the scores."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from minirec.api_schemas.common import Request


class KeptTexts(Request):
    """How much of what the model wrote is kept beside the scores, for people to read; it changes no score."""

    model_config = ConfigDict(frozen=True)

    rollouts: Annotated[
        int, Field(ge=0, le=64, description="Texts kept per sample, of its first rollouts; 0 keeps none", examples=[4])
    ] = 4
    characters: Annotated[
        int, Field(ge=1, le=10_000, description="Characters kept of a text, from its beginning", examples=[1000])
    ] = 1000
