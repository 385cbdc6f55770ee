"""Route of a selection's scores: what was measured of every sample of the pool."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query

from api_schemas import Page, SampleScore
from api_schemas.selections import GATE_VERDICTS, SIGNALS, GateVerdict
from service.dependencies import SelectionId, StoreOf
from service.problems import invalid, problems
from service.results import Result, result_of

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get("/{selection_id}/scores")
def get_scores(
    store: StoreOf,
    selection_id: SelectionId,
    limit: Annotated[int, Query(ge=1, le=1000, description="Rows per page")] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=256, description="Id of the last sample seen")] = None,
    order: Annotated[
        Literal["pool", "rank"], Query(description="`rank`: the picked ones first, as picked; then by score")
    ] = "pool",
) -> Page[SampleScore]:
    """Return scores of every sample in the pool, selected or not."""
    result = result_of(store, selection_id)
    size = result.size
    start = 0
    if after is not None:
        try:
            position = result.position_of(after)
            start = (position if order == "pool" else result.rank_of(position)) + 1
        except KeyError as error:
            raise invalid(
                "invalid_cursor", ("query", "after"), f"{after!r} is no sample of {selection_id}'s pool"
            ) from error
    page = range(start, min(start + limit, size))
    positions = page if order == "pool" else result.rank_order[page.start : page.stop]
    data = [sample_score(result, int(position)) for position in positions]
    has_more = start + limit < size
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


def deciding_number(verdict: GateVerdict, rewards: npt.NDArray[np.float64]) -> float | None:
    """Return the number by which the gate judged a sample with these rewards (G,); None for an open one."""
    numbers = {"too_hard": rewards.max(), "too_easy": rewards.min(), "no_spread": rewards.std()}
    return None if verdict == "open" else float(numbers[verdict])


def sample_score(result: Result, position: int) -> SampleScore:
    """Return what was measured of the sample at a position of the pool."""
    columns = result.columns
    rewards = columns["rewards"][position]
    verdict = GATE_VERDICTS[columns["gate"][position]]
    picked_rank, training_position = int(columns["picked_rank"][position]), int(columns["training_position"][position])
    return SampleScore(
        id=result.sample_id(position),
        reward_mean=result.reward_mean(position),
        reward_std=float(rewards.std(dtype=np.float64)),
        rewards=rewards.tolist(),
        hit=columns["hit"][position].astype(bool).tolist(),
        pass_rate=result.pass_rate(position),
        learnability=float(columns["learnability"][position]),
        learnability_raw=float(columns["learnability_raw"][position]),
        representativeness=result.representativeness(position),
        score=float(columns["score"][position]),
        gate=verdict,
        gate_value=deciding_number(verdict, rewards),
        signal=SIGNALS[columns["signal"][position]],
        picked_rank=picked_rank if picked_rank >= 0 else None,
        training_position=training_position if training_position >= 0 else None,
    )
