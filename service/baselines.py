"""Route of a selection's baselines: what other ways of choosing would have taken from the same scores."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path

from minirec.api_schemas import Arm, ArmIds, Baseline
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.lookup import job_or_404
from minirec.service.problems import ProblemError, problems
from minirec.service.results import result_of

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get("/{selection_id}/baselines/{baseline}")
def get_baseline(
    store: StoreOf,
    selection_id: SelectionId,
    baseline: Annotated[Baseline, Path(description="An arm that the selection's request named in `baselines`")],
) -> ArmIds:
    """Return the ids that a baseline chose, as many as the selection, and how they compare with it."""
    result = result_of(store, selection_id)
    asked = job_or_404(store, selection_id).json("result")["baselines"]
    if baseline not in asked:
        there = ", ".join(asked) or "none"
        raise ProblemError(
            404, "no_such_baseline", f"{selection_id} was not asked for the baseline {baseline!r}; it has {there}"
        )
    places = result.columns[f"arm:{baseline}"]
    chosen = np.flatnonzero(places >= 0)
    order = chosen[np.argsort(places[chosen])]
    return ArmIds(
        selection_id=selection_id,
        baseline=baseline,
        ids=[result.sample_id(int(position)) for position in order],
        comparison=Arm.model_validate(asked[baseline]),
    )
