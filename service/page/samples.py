"""Pages of a selection's samples: all of them filtered and sorted, one explained, and two selections compared."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from minirec.api_schemas import Selection
from minirec.api_schemas.baselines import BASELINES
from minirec.api_schemas.selections import GATE_VERDICTS
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.explanations import explain
from minirec.service.page.templating import PageRoute, page
from minirec.service.problems import ProblemError
from minirec.service.results import Result, result_of
from minirec.service.scores import Filters, Order, listed, sample_score
from minirec.service.selections import selection_or_404
from minirec.store import Store

ROWS = 50
SHOWN = 20
"""Samples that only one selection has, as examples."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/jobs/{selection_id}/samples")
def samples(
    request: Request,
    store: StoreOf,
    selection_id: SelectionId,
    filters: Annotated[Filters, Depends()],
    order: Order = "rank",
    ascending: bool = False,
    start: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """List the samples of a pool that fit, in an order."""
    result = result_of(store, selection_id)
    positions = listed(result, filters, order, ascending=ascending)
    kept = {name: value for name, value in request.query_params.items() if name != "start" and value != ""}
    return page(
        request,
        "samples.html",
        title=f"Samples of {selection_id}",
        selection_id=selection_id,
        rows=[sample_score(result, int(position)) for position in positions[start : start + ROWS]],
        total=len(positions),
        start=start,
        following=start + ROWS if start + ROWS < len(positions) else None,
        before=max(0, start - ROWS) if start else None,
        kept=kept,
        order=order,
        orders=get_args(Order),
        verdicts=GATE_VERDICTS,
        filters=filters,
        ascending=ascending,
    )


@router.get("/jobs/{selection_id}/sample")
def sample(
    request: Request,
    store: StoreOf,
    selection_id: SelectionId,
    sample_id: Annotated[str, Query(alias="id", min_length=1, max_length=256)],
) -> Response:
    """Explain one sample."""
    found = explain(store, selection_id, sample_id)
    return page(request, "sample.html", title=f"Sample {sample_id}", found=found, selection_id=selection_id)


@router.get("/jobs/{selection_id}/compare")
def compare(
    request: Request,
    store: StoreOf,
    selection_id: SelectionId,
    other: Annotated[str, Query(alias="with", max_length=60)] = "",
) -> Response:
    """Compare a selection with one of its baselines, or with another selection of the same dataset."""
    selection = selection_or_404(store, selection_id)
    result = result_of(store, selection_id)
    arms = [name for name in BASELINES if f"arm:{name}" in result.columns]
    values: dict[str, Any] = {
        "title": f"Compare {selection_id}",
        "selection": selection,
        "arms": arms,
        "others": _others(store, selection),
        "other": other,
        "found": None,
    }
    if other:
        values["found"] = compared(store, result, selection_id, other)
    return page(request, "compare.html", **values)


def _others(store: Store, selection: Selection) -> list[str]:
    """Return other finished selections of the same dataset, newest first."""
    records, _ = store.jobs.page("selection", limit=30, status="succeeded", dataset_id=selection.dataset_id)
    return [record.id for record in records if record.id != selection.id]


def compared(store: Store, result: Result, selection_id: str, other: str) -> dict[str, Any]:
    """Return what two choices share and where they differ. Raises ProblemError."""
    ours = result.columns["picked_rank"] >= 0
    if f"arm:{other}" in result.columns:
        against, theirs = result, result.columns[f"arm:{other}"] >= 0
    elif other.startswith("sel_"):
        against = result_of(store, other)
        theirs = against.columns["picked_rank"] >= 0
        if against.content_hash != result.content_hash:
            raise ProblemError(422, "invalid_request", f"{other} is of another dataset than {selection_id}")
    else:
        raise ProblemError(404, "no_such_baseline", f"{selection_id} has no baseline {other!r}, and it is no selection")
    rows, other_rows = result.columns["row"][ours], against.columns["row"][theirs]
    shared = np.intersect1d(rows, other_rows)
    return {
        "sides": [(selection_id, _side(result, ours)), (other, _side(against, theirs))],
        "shared": len(shared),
        "only": [
            (selection_id, selection_id, _examples(result, ours, shared), len(rows) - len(shared)),
            (
                other,
                selection_id if against is result else other,
                _examples(against, theirs, shared),
                len(other_rows) - len(shared),
            ),
        ],
    }


def _side(result: Result, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Return one choice in numbers; a rollout is wasted where all of its sample's earned the same."""
    rewards, hits = result.columns["rewards"][chosen], result.columns["hit"][chosen].astype(bool)
    alike = rewards.max(axis=1) == rewards.min(axis=1)
    return {
        "size": int(chosen.sum()),
        "reward": float(rewards.mean()),
        "pass_rate": float(hits.mean()),
        "learnability": float(result.columns["learnability"][chosen].mean()),
        "never_solved": int((~hits.any(axis=1)).sum()),
        "wasted": int(alike.sum()) * rewards.shape[1],
        "rollouts": int(rewards.size),
    }


def _examples(result: Result, chosen: Any, shared: Any) -> list[str]:
    positions = np.flatnonzero(chosen & ~np.isin(result.columns["row"], shared))[:SHOWN]
    return [result.sample_id(int(position)) for position in positions]
