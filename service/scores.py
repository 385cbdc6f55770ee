"""Route of a selection's scores: what was measured of every sample of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Query

from minirec.api_schemas import Page, SampleScore
from minirec.api_schemas.selections import GATE_VERDICTS, SIGNALS, GateVerdict
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.problems import invalid, problems
from minirec.service.results import Result, result_of

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


Order = Literal["pool", "rank", "score", "reward", "spread", "learnability", "representativeness"]


@dataclass(frozen=True)
class Filters:
    """Which scores are listed: all that fit every filter given."""

    gate: Annotated[GateVerdict | None, Query(description="Only samples with this verdict")] = None
    picked: Annotated[bool | None, Query(description="Only picked ones (true), or only the others (false)")] = None
    reward_min: Annotated[float | None, Query(description="Lowest mean reward", allow_inf_nan=False)] = None
    reward_max: Annotated[float | None, Query(description="Highest mean reward", allow_inf_nan=False)] = None
    learnability_min: Annotated[float | None, Query(description="Lowest L", allow_inf_nan=False)] = None
    learnability_max: Annotated[float | None, Query(description="Highest L", allow_inf_nan=False)] = None
    representativeness_min: Annotated[
        float | None, Query(description="Lowest R; samples without R do not fit", allow_inf_nan=False)
    ] = None
    representativeness_max: Annotated[
        float | None, Query(description="Highest R; samples without R do not fit", allow_inf_nan=False)
    ] = None

    def mask(self, result: Result) -> npt.NDArray[np.bool_] | None:
        """Return (N,) which samples fit; None for all."""
        columns, masks = result.columns, []
        if self.gate is not None:
            masks.append(columns["gate"] == GATE_VERDICTS.index(self.gate))
        if self.picked is not None:
            masks.append((columns["picked_rank"] >= 0) == self.picked)
        nowhere = np.full(result.size, np.nan)
        for values, low, high in (
            (result.reward_means, self.reward_min, self.reward_max),
            (columns["learnability"], self.learnability_min, self.learnability_max),
            (columns.get("representativeness", nowhere), self.representativeness_min, self.representativeness_max),
        ):
            if low is not None:
                masks.append(values >= low)
            if high is not None:
                masks.append(values <= high)
        return np.logical_and.reduce(masks) if masks else None


@router.get("/{selection_id}/scores")
def get_scores(
    store: StoreOf,
    selection_id: SelectionId,
    filters: Annotated[Filters, Depends()],
    limit: Annotated[int, Query(ge=1, le=1000, description="Rows per page")] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=256, description="Id of the last sample seen")] = None,
    order: Annotated[
        Order,
        Query(
            description="`rank`: the picked ones first, as picked; then by score. `pool`: as in the dataset. The "
            "others: highest first, equal ones in the order of the pool; samples without the number come last"
        ),
    ] = "pool",
    ascending: Annotated[bool, Query(description="Turns the order around")] = False,
) -> Page[SampleScore]:
    """Return scores of the samples in the pool, selected or not."""
    result = result_of(store, selection_id)
    positions = listed(result, filters, order, ascending=ascending)
    start = 0
    if after is not None:
        start = _start_behind(result, positions, after, selection_id)
    page = positions[start : start + limit]
    data = [sample_score(result, int(position)) for position in page]
    has_more = start + limit < len(positions)
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


def listed(result: Result, filters: Filters, order: Order, *, ascending: bool = False) -> npt.NDArray[np.integer[Any]]:
    """Return the positions of the samples that fit, in an order."""
    positions = result.ordered(order)
    if ascending:
        positions = positions[::-1]
    mask = filters.mask(result)
    return positions if mask is None else positions[mask[positions]]


def _start_behind(result: Result, positions: npt.NDArray[np.integer[Any]], after: str, selection_id: str) -> int:
    """Return the place behind the sample `after`. Raises ProblemError 422 where the list does not have it."""
    try:
        found = np.flatnonzero(positions == result.position_of(after))
    except KeyError as error:
        detail = f"{after!r} is no sample of {selection_id}'s pool"
        raise invalid("invalid_cursor", ("query", "after"), detail) from error
    if not found.size:
        raise invalid("invalid_cursor", ("query", "after"), f"{after!r} does not fit the filters of this list")
    return int(found[0]) + 1


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
