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
from api_schemas.baselines import Baseline
from benchmarks.quality.data import Rows
from benchmarks.quality.proposals import PROPOSALS
from benchmarks.quality.runs import Scoring
from worker.measured import Measured
from worker.select import choose, choose_baselines

STRATA: Final = 20
"""Equal ranges of effort that the coverage arm spreads its picks over."""

Choice = Callable[[Measured, int, int], Rows]
"""(measured, size, seed) -> positions in the pool, in training order."""


def everything(measured: Measured, size: int, seed: int) -> Rows:
    """The whole pool in random order; `size` has no effect."""
    return np.random.default_rng(seed).permutation(len(measured.rows))


def from_baseline(arm: Baseline) -> Choice:
    """An arm of the service's `baselines`, in random order."""

    def pick(measured: Measured, size: int, seed: int) -> Rows:
        picked = choose_baselines(request(size, seed, baselines=[arm]), measured, size).picks[arm]
        return np.random.default_rng(seed).permutation(picked)

    return pick


def request(size: int, seed: int, **settings: Any) -> SelectionCreate:
    """A selection with these settings of `POST /v1/selections`: L and R alike where they say nothing else."""
    curriculum = {"seed": seed} | settings.get("curriculum", {})
    weights = {"alpha": 1.0} | settings.get("weights", {})
    body = settings | {
        "curriculum": curriculum,
        "weights": weights,
        "size": size,
        "dataset_id": "ds_quality",
        "signals": "uploaded",
    }
    return SelectionCreate.model_validate(body)


def effort_with_coverage(measured: Measured, size: int, seed: int) -> Rows:
    """DEALRec's selection as far as it applies here: effort scores, and picks spread over their whole range.

    Effort is the length of a sample's teacher-forced gradient. The range of the scores is cut into `STRATA` equal
    parts; starting with the part that has the fewest samples, each gives its share of what is left of the budget, at
    random. DEALRec adds an influence score of a small recommender trained beside it, which is left out here.
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


BASELINE_NAMES: Final[dict[Baseline, str]] = {
    "random": "random",
    "kmeans": "k-means coverage",
    "grand": "GraNd",
    "el2n": "EL2N",
    "top_learnability": "top learnability",
}
"""What the table calls each of the service's baselines."""
ARMS: Final[dict[str, Choice]] = {
    "full data": everything,
    **{name: from_baseline(arm) for arm, name in BASELINE_NAMES.items()},
    "effort + coverage": effort_with_coverage,
    "MiniRec": minirec(),
    "MiniRec without gate": minirec(weights={"gate": {"enabled": False}}),
    "MiniRec without R": minirec(without_vectors),
    "MiniRec without L": minirec(weights={"alpha": 0.0}),
    "MiniRec without diversity": minirec(without_embeddings),
    "MiniRec without curriculum": minirec(curriculum={"group_size": 1}),
    "MiniRec paper profile": minirec(profile="paper"),
}
"""In the order of the table. All but the first choose a budget's worth of samples."""
OTHERWISE: Final[dict[str, Choice]] = {
    "MiniRec, R from advantages": minirec(),
    "MiniRec, best by R": minirec(without_embeddings, weights={"alpha": 0.0}),
    "MiniRec without L, without proxy": minirec(weights={"alpha": 0.0}),
    "MiniRec without L, half scored without proxy": minirec(weights={"alpha": 0.0}),
    "full data, published loss over items": everything,
    "random, published loss over items": from_baseline("random"),
}
"""Arms beside the table's that leave more out, or score or train in another way."""
KNOWN: Final = ARMS | PROPOSALS | OTHERWISE
"""All that can be asked for by name."""
FREE: Final = tuple(arm for arm in KNOWN if arm.startswith(("full data", "random")))
"""Arms that need no proxy and no scores."""
MEASURED_BY: Final = {
    "MiniRec paper profile": Scoring("paper", "hvp"),
    "MiniRec, R from advantages": Scoring(vector="gradient"),
    "MiniRec without L, without proxy": Scoring(proxied=False),
    "MiniRec without L, half scored without proxy": Scoring(proxied=False, part=0.5),
}
"""How the pool is scored for the arms that do not take MiniRec's way."""
TRAINED_BY: Final[dict[str, dict[str, Any]]] = {
    "full data, published loss over items": {"item_negatives": None},
    "random, published loss over items": {"item_negatives": None},
}
"""Settings of GRPO in which the training of an arm differs."""
