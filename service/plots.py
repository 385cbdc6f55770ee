"""Route of a selection in numbers to draw: everything is counted here, so that a million samples are a small answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter

from minirec.api_schemas.plots import CurriculumPoint, Funnel, Histogram, Points, Popularity, SelectionPlots
from minirec.api_schemas.selections import GATE_VERDICTS, SelectionResult
from minirec.data.dataset import Dataset
from minirec.service.content import open_content
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.lookup import job_or_404
from minirec.service.problems import problems
from minirec.service.results import Result, result_of
from minirec.service.stored_views import Beside
from minirec.store import Store

BINS = 40
POINTS, POINTS_PICKED = 3_000, 1_500
"""Samples that are shown one by one, and how many of them may be picks."""
STEPS = 500

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))

Floats = npt.NDArray[np.floating[Any]]
Positions = npt.NDArray[np.integer[Any]]


@router.get("/{selection_id}/plots")
def get_plots(store: StoreOf, selection_id: SelectionId) -> SelectionPlots:
    """Return histograms, points and counts to draw a selection with, of a bounded size."""
    return plots_of(store, selection_id)


def plots_of(store: Store, selection_id: str) -> SelectionPlots:
    """Return what a picture of a finished selection needs. Raises ProblemError 404, 409 or 410."""
    result, record = result_of(store, selection_id), job_or_404(store, selection_id)
    facts = SelectionResult.model_validate(record.json("result"))
    columns, view = result.columns, Beside(store, record).view()
    picked = columns["picked_rank"] >= 0
    by_verdict: dict[str, npt.NDArray[np.bool_]] = {
        name: columns["gate"] == code for code, name in enumerate(GATE_VERDICTS)
    }
    alignment = columns.get("representativeness")
    return SelectionPlots(
        selection_id=selection_id,
        funnel=_funnel(result, facts, picked),
        rewards=histogram(result.reward_means, {**by_verdict, "picked": picked}),
        alignment=None
        if alignment is None
        else histogram(alignment, {"pool": np.ones(result.size, bool), "picked": picked}),
        points=_points(result, None if view is None else view["map"]),
        map_explained=None if view is None else view["explained"].tolist(),
        curriculum=_curriculum(result),
        popularity=_popularity(store, result, picked),
    )


def _funnel(result: Result, facts: SelectionResult, picked: npt.NDArray[np.bool_]) -> Funnel:
    rewards, hits = result.columns["rewards"][picked], result.columns["hit"][picked]
    return Funnel(
        left_out=facts.left_out,
        pool=result.size,
        gated=facts.gated,
        open=int((result.columns["gate"] == GATE_VERDICTS.index("open")).sum()),
        picked=int(picked.sum()),
        backfilled=facts.backfilled,
        never_solved=int((~hits.astype(bool).any(axis=1)).sum()),
        all_alike=int((rewards.max(axis=1) == rewards.min(axis=1)).sum()),
    )


def histogram(values: Floats, series: dict[str, npt.NDArray[np.bool_]]) -> Histogram:
    """Return counts of values (N,), of each series' part of them, between edges that all series share."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    return Histogram(
        edges=edges.tolist(),
        counts={name: np.histogram(values[part], edges)[0].tolist() for name, part in series.items()},
    )


def _points(result: Result, places: Floats | None) -> Points:
    """Return picks, spread over the order of picking where there are too many, and a random part of the others."""
    rank = result.columns["picked_rank"]
    picks = np.flatnonzero(rank >= 0)
    picks = picks[np.argsort(rank[picks])]
    if len(picks) > POINTS_PICKED:
        picks = picks[np.linspace(0, len(picks) - 1, POINTS_PICKED).astype(np.int64)]
    others = np.flatnonzero(rank < 0)
    if len(others) > POINTS - len(picks):
        others = np.sort(np.random.default_rng(0).choice(others, POINTS - len(picks), replace=False))
    shown = np.concatenate([picks, others])
    alignment = result.columns.get("representativeness")
    return Points(
        ids=[result.sample_id(int(position)) for position in shown],
        picked=len(picks),
        reward=_short(result.reward_means[shown]),
        learnability=_short(result.columns["learnability"][shown]),
        representativeness=None if alignment is None else _short(alignment[shown]),
        map_x=None if places is None else _short(places[shown, 0]),
        map_y=None if places is None else _short(places[shown, 1]),
    )


def _short(values: Floats) -> list[float]:
    """Values with the digits that a screen can show."""
    return [float(f"{value:.5g}") for value in values.tolist()]


def _curriculum(result: Result) -> list[CurriculumPoint]:
    order = result.training_order
    bounds = np.unique(np.linspace(0, len(order), min(STEPS, len(order)) + 1).astype(np.int64))
    rewards = np.add.reduceat(result.reward_means[order], bounds[:-1]) / np.diff(bounds)
    groups = result.columns["group"][order[bounds[:-1]]]
    return [
        CurriculumPoint(position=position, group=group, reward=reward)
        for position, group, reward in zip(bounds[:-1].tolist(), groups.tolist(), rewards.tolist(), strict=True)
    ]


def _popularity(store: Store, result: Result, picked: npt.NDArray[np.bool_]) -> list[Popularity] | None:
    """Return how the picks' targets compare with the pool's, in steps of powers of two; None for prompts."""
    dataset = open_content(store, result.content_hash)
    if not isinstance(dataset, Dataset):
        return None
    targets = dataset.targets[result.columns["row"]]
    times = np.bincount(targets)[targets]
    steps = np.log2(times).astype(np.int64)
    found = []
    for step in np.unique(steps).tolist():
        inside, low, high = steps == step, 2**step, 2 ** (step + 1) - 1
        label = str(low) if low == high else f"{low}-{high}"
        found.append(Popularity(times=label, pool=int(inside.sum()), picked=int((inside & picked).sum())))
    return found
