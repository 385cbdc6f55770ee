"""The arms: which samples of the pool each one trains on, and in which order.

MiniRec's own arms and the service's baselines go through `worker.select`, the code that answers a selection request,
with the request that a user would send; arms without a part hand it the measurements without that signal. Arms that
define no order train in a random one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from api_schemas import SelectionCreate
from api_schemas.selections import Baseline
from benchmarks.quality.data import Rows
from benchmarks.quality.proposals import PROPOSALS, TEACHER
from minirec.selection.compose import Profile
from worker.measured import Measured
from worker.select import choose, choose_arms

STRATA: Final = 20
"""Equal ranges of effort that the coverage arm spreads its picks over."""

Choice = Callable[[Measured, int, int], Rows]
"""(measured, size, seed) -> positions in the pool, in training order."""


def everything(measured: Measured, size: int, seed: int) -> Rows:
    """The whole pool in random order; the size is not heeded."""
    return np.random.default_rng(seed).permutation(len(measured.rows))


def from_baseline(arm: Baseline) -> Choice:
    """An arm of the service's `baselines`, in random order."""

    def pick(measured: Measured, size: int, seed: int) -> Rows:
        picked = choose_arms(request(size, seed, baselines=[arm]), measured, size)[arm]
        return np.random.default_rng(seed).permutation(picked)

    return pick


def request(size: int, seed: int, **settings: Any) -> SelectionCreate:
    """A selection with these settings of `POST /v1/selections`."""
    curriculum = {"seed": seed} | settings.get("curriculum", {})
    body = settings | {"curriculum": curriculum, "size": size, "dataset_id": "ds_quality", "signals": "uploaded"}
    return SelectionCreate.model_validate(body)


def effort_with_coverage(measured: Measured, size: int, seed: int) -> Rows:
    """DEALRec's selection as far as it applies here: effort scores, and picks spread over their whole range.

    Effort is the length of a sample's gradient. The range of the scores is cut into `STRATA` equal parts; starting
    with the part that has the fewest samples, each gives its share of what is left of the budget, at random. DEALRec
    adds an influence score of a small recommender trained beside it, which is left out here.
    """
    vectors = measured.vectors
    if vectors is None:
        raise ValueError("effort needs vectors")
    draw = np.random.default_rng(seed)
    efforts = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1)
    edges = np.linspace(efforts.min(), efforts.max(), STRATA + 1)
    stratum = np.digitize(efforts, edges[1:-1])
    strata = sorted((np.flatnonzero(stratum == number) for number in range(STRATA)), key=len)
    picked: list[Rows] = []
    for place, members in enumerate(strata):
        share = (size - sum(map(len, picked))) // (STRATA - place)
        picked.append(draw.permutation(members)[:share])
    return draw.permutation(np.concatenate(picked))


def minirec(known: Callable[[Measured], Measured] = lambda measured: measured, **settings: Any) -> Choice:
    """MiniRec with these settings, from what is `known` of the measurements."""

    def pick(measured: Measured, size: int, seed: int) -> Rows:
        return choose(request(size, seed, **settings), known(measured)).order

    return pick


def without_vectors(measured: Measured) -> Measured:
    return replace(measured, vectors=None)


def without_embeddings(measured: Measured) -> Measured:
    return replace(measured, embeddings=None)


ARMS: Final[dict[str, Choice]] = {
    "full data": everything,
    "random": from_baseline("random"),
    "k-means coverage": from_baseline("kmeans"),
    "GraNd": from_baseline("grand"),
    "EL2N": from_baseline("el2n"),
    "top learnability": from_baseline("top_learnability"),
    "effort + coverage": effort_with_coverage,
    "MiniRec": minirec(),
    "MiniRec without gate": minirec(weights={"gate": {"enabled": False}}),
    "MiniRec without R": minirec(without_vectors),
    "MiniRec without diversity": minirec(without_embeddings),
    "MiniRec without curriculum": minirec(curriculum={"group_size": 1}),
    "MiniRec paper profile": minirec(profile="paper"),
}
"""In the order of the table. All but the first choose a budget's worth of samples."""
KNOWN: Final = ARMS | PROPOSALS
"""All that can be asked for by name."""
FREE: Final = ("full data", "random")
"""Arms that need no proxy and no scores."""
MEASURED_BY: Final[dict[str, tuple[Profile, str]]] = {
    "MiniRec paper profile": ("paper", "hvp"),
    **dict.fromkeys(TEACHER, ("minirec", "teacher")),
}
"""Profile of the scoring and vector behind R of the arms that do not take MiniRec's."""
