"""One sample of a finished selection, explained: what it is, what the model answered, and why it was picked or not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minirec.api_schemas.common import Response
from minirec.api_schemas.selections import SampleScore


class TitledItem(Response):
    """An item as people know it."""

    item_id: Annotated[str, Field(description="Id in the catalogue", examples=["m31"])]
    title: Annotated[str, Field(description="Title in the catalogue", examples=["Crimson Tide"])]


class Rollout(Response):
    """One answer of the model to the sample."""

    reward: Annotated[float, Field(description="What it earned", examples=[0.31])]
    hit: Annotated[bool, Field(description="Whether it reached the goal", examples=[True])]
    text: Annotated[
        str | None, Field(description="What the model wrote; null where it was not kept", examples=["The user likes"])
    ] = None
    cut: Annotated[bool, Field(description="Whether the text goes on behind what was kept", examples=[False])] = False


class NearestPick(Response):
    """The picked sample that is most like this one."""

    id: Annotated[str, Field(description="Its id", examples=["u7-3"])]
    distance: Annotated[
        float, Field(description="1 - cosine of the two embeddings: 0 is the same, 2 the opposite", examples=[0.12])
    ]
    picked_rank: Annotated[int, Field(description="Its 0-based place in the greedy choice", examples=[3])]


Reason = Literal["picked", "backfilled", "gated", "outscored", "too_similar"]


class SampleExplanation(Response):
    """A sample of the pool, what was measured of it, and why it was picked or not."""

    object: Annotated[
        Literal["sample_explanation"], Field(description="Kind of object", examples=["sample_explanation"])
    ] = "sample_explanation"
    selection_id: Annotated[str, Field(description="The selection", examples=["sel_01kb3q8x2m5v7n9p4r6t"])]
    score: Annotated[SampleScore, Field(description="What was measured, as `GET .../scores` lists it")]
    sample: Annotated[
        dict[str, Any], Field(description="The sample as it was uploaded", examples=[{"id": "u7-3", "target": "m31"}])
    ]
    history: Annotated[
        list[TitledItem],
        Field(
            description="Of interactions, the history with titles, most recent last",
            examples=[[{"item_id": "m12", "title": "Apollo 13"}]],
        ),
    ] = []
    target: Annotated[
        TitledItem | None,
        Field(description="Of interactions, the target", examples=[{"item_id": "m31", "title": "Crimson Tide"}]),
    ] = None
    rollouts: Annotated[
        list[Rollout],
        Field(
            description="Every rollout's reward, with its text where it was kept",
            examples=[[{"reward": 0.31, "hit": True, "text": "The user likes", "cut": False}]],
        ),
    ]
    texts_kept: Annotated[
        int, Field(description="How many rollouts have a text; 0 where none were asked for", examples=[4])
    ] = 0
    score_rank: Annotated[int, Field(description="0-based place by score alone, in the whole pool", examples=[17])]
    lowest_picked_score: Annotated[
        float | None, Field(description="The lowest score that was picked from the open samples", examples=[0.52])
    ] = None
    nearest_pick: Annotated[
        NearestPick | None,
        Field(
            description="The nearest picked sample other than itself; null without embeddings",
            examples=[{"id": "u9-1", "distance": 0.12, "picked_rank": 3}],
        ),
    ] = None
    reason: Annotated[
        Reason,
        Field(
            description="`picked`; `backfilled`: gated, yet needed; `gated`; `outscored`: lower score than all open "
            "picks; `too_similar`: the score would have done, but picks were too near, or its stratum had its share",
            examples=["too_similar"],
        ),
    ]
    why: Annotated[
        str, Field(description="The reason in a sentence", examples=["Picked 4th: its score is 0.71 of at most 1.9."])
    ]
