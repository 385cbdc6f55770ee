"""A finished selection in numbers to draw: counted on the server, of a bounded size whatever the pool's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import Response


class Funnel(Response):
    """What became of the pool's samples."""

    left_out: Annotated[int, Field(description="Not scored: too long, or without uploaded rewards", examples=[0])]
    pool: Annotated[int, Field(description="Samples that were scored", examples=[1000])]
    gated: Annotated[
        dict[str, int], Field(description="Samples that the gate set aside, by verdict", examples=[{"too_hard": 380}])
    ]
    open: Annotated[int, Field(description="Samples that the gate let through", examples=[620])]
    picked: Annotated[int, Field(description="Samples that were chosen", examples=[64])]
    backfilled: Annotated[int, Field(description="Picked although gated: the open ones ran out", examples=[0])]
    never_solved: Annotated[int, Field(description="Picked samples that no rollout solved", examples=[0])]
    all_alike: Annotated[int, Field(description="Picked samples whose rollouts all earned the same", examples=[2])]


class Histogram(Response):
    """Counts between edges."""

    edges: Annotated[list[float], Field(description="n + 1 edges, rising", examples=[[0.0, 0.5, 1.0]])]
    counts: Annotated[
        dict[str, list[int]], Field(description="By series, n counts", examples=[{"pool": [7, 3], "picked": [1, 2]}])
    ]


class Points(Response):
    """Some samples of the pool, one entry of each list per sample: picks first, in the order of picking."""

    ids: Annotated[list[str], Field(description="Ids of the samples", examples=[["u7-3"]])]
    picked: Annotated[int, Field(description="How many of them, from the first on, are picks", examples=[1])]
    reward: Annotated[list[float], Field(description="Mean reward", examples=[[0.31]])]
    learnability: Annotated[list[float], Field(description="L, from 0 to 1", examples=[[0.92]])]
    representativeness: Annotated[
        list[float] | None, Field(description="R; null where no vectors were measured", examples=[[0.71]])
    ] = None
    map_x: Annotated[
        list[float] | None, Field(description="Place in the map; null without embeddings", examples=[[0.12]])
    ] = None
    map_y: Annotated[list[float] | None, Field(description="The same, upwards", examples=[[-0.05]])] = None


class CurriculumPoint(Response):
    """Some picks that follow each other in training."""

    position: Annotated[int, Field(description="0-based place of the first of them", examples=[0])]
    group: Annotated[int, Field(description="Curriculum group of the first of them", examples=[0])]
    reward: Annotated[float, Field(description="Their mean reward", examples=[0.61])]


class Popularity(Response):
    """Targets that are about as frequent in the pool: how often they are in the pool, and among the picks."""

    times: Annotated[str, Field(description="How often the target occurs in the pool", examples=["2-3"])]
    pool: Annotated[int, Field(description="Samples with such a target", examples=[120])]
    picked: Annotated[int, Field(description="Picked ones among them", examples=[9])]


class SelectionPlots(Response):
    """What a picture of a finished selection needs."""

    object: Annotated[Literal["selection_plots"], Field(description="Kind of object", examples=["selection_plots"])] = (
        "selection_plots"
    )
    selection_id: Annotated[str, Field(description="The selection", examples=["sel_01kb3q8x2m5v7n9p4r6t"])]
    funnel: Annotated[Funnel, Field(description="From the pool to the picks")]
    rewards: Annotated[
        Histogram, Field(description="Mean rewards by gate verdict (they add up to the pool), and of the `picked`")
    ]
    alignment: Annotated[
        Histogram | None, Field(description="R of the `pool` and of the `picked`; null without vectors")
    ] = None
    points: Annotated[Points, Field(description="Up to 3,000 samples to show one by one")]
    map_explained: Annotated[
        list[float] | None,
        Field(description="Shares of the embeddings' variance that the map's axes show", examples=[[0.21, 0.09]]),
    ] = None
    curriculum: Annotated[
        list[CurriculumPoint],
        Field(
            description="Mean rewards in training order, at most 500 steps",
            examples=[[{"position": 0, "group": 0, "reward": 0.61}]],
        ),
    ]
    popularity: Annotated[
        list[Popularity] | None,
        Field(
            description="Targets from rare to frequent; null for prompts",
            examples=[[{"times": "2-3", "pool": 120, "picked": 9}]],
        ),
    ] = None
