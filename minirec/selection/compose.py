"""The whole selection: gate, scores, diverse choice and curriculum, from the signals of a pool."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import (
    FloatArray,
    Hits,
    IndexArray,
    Rewards,
    finite_matrix,
    min_max,
    require_size,
)
from minirec.selection.curriculum import curriculum, group_sizes
from minirec.selection.diversity import select_diverse
from minirec.selection.gate import OPEN, TOO_EASY, TOO_HARD, gate
from minirec.selection.learnability import learnability
from minirec.selection.representativeness import representativeness
from minirec.selection.rows import Rows

Profile = Literal["minirec", "paper"]

FEW_OPEN: Final = 0.1
"""A gate that leaves less of the pool than this is worth a warning."""


class EmptySelectionError(ValueError):
    """The gate leaves no sample of the pool."""


@dataclass(frozen=True)
class Selection:
    """Which samples of a pool of N to train on, in which order, and why."""

    indices: IndexArray
    """(k,) the chosen samples, in the order in which they were chosen."""
    order: IndexArray
    """(k,) the same samples in training order."""
    groups: IndexArray
    """(K,) sizes of the curriculum's groups, which follow one another in `order`."""
    distances: FloatArray | None
    """(k,) distance of each choice to those before it, infinite for the first; None without embeddings."""
    learnability: FloatArray
    """(N,) L over the pool, in [0, 1]."""
    learnability_raw: FloatArray
    """(N,) L before the min-max."""
    representativeness: FloatArray | None
    """(N,) R over the pool, in [0, 1]; None without vectors."""
    scores: FloatArray
    """(N,) alpha * L + R."""
    gate: npt.NDArray[np.int8]
    """(N,) verdicts `OPEN`, `TOO_HARD` and `TOO_EASY`; all open where no gate applies."""
    backfilled: int
    """How many were chosen although gated, because the open samples ran out."""
    warnings: tuple[str, ...]
    """What a person should know about this selection."""


def select(
    *,
    rewards: Rewards,
    k: int,
    hits: Hits | None = None,
    vectors: Any = None,
    embeddings: Any = None,
    profile: Profile = "minirec",
    alpha: float = 1.0,
    mu: float = 0.5,
    sigma: float | None = None,
    gated: bool = True,
    too_easy_reward: float = 0.95,
    min_spread: float = 1e-3,
    groups: int | None = None,
    group_size: int = 64,
    seed: int = 42,
) -> Selection:
    """Choose k samples to train on and put them in order (docs/method.md, sections 3 to 6).

    rewards (N, G), hits (N, G), vectors (N, d) and embeddings (N, e) of the pool. Without vectors the score is
    alpha * L alone; without embeddings the k largest scores are chosen, whatever they have in common. `groups`
    defaults to as many as it takes for about `group_size` samples each. `sigma` defaults to the pool's standard
    deviation of mean rewards.

    profile "paper" is the published computation: no gate, no floor under sigma, R against the mean of the raw vectors,
    and the remainder of the curriculum in its last group. "minirec" corrects these four.

    Raises ValueError for NaN or infinity (naming the row), arrays that disagree in N and k > N; `EmptySelectionError`
    when the gate leaves nothing.
    """
    values = finite_matrix(rewards, "rewards")
    n = len(values)
    require_size(k, n)
    if not 0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha}")
    _require_rows(embeddings, "embeddings", n)
    _require_rows(vectors, "vectors", n)
    paper = profile == "paper"

    means = values.mean(axis=1)
    raw = learnability(values, mu=mu, sigma=_sigma(means, sigma, paper), normalize=False)
    learnable = min_max(raw)
    agreement = None
    if vectors is not None:
        agreement = representativeness(vectors, direction="mean" if paper else "unit_mean")
    scores = alpha * learnable if agreement is None else alpha * learnable + agreement

    verdicts = np.full(n, OPEN, dtype=np.int8)
    if gated and not paper:
        verdicts = gate(values, hits, too_easy_reward=too_easy_reward, min_spread=min_spread)
    is_open = verdicts == OPEN
    if not is_open.any():
        raise EmptySelectionError(_nothing_open(means, verdicts))

    if embeddings is None:
        indices, distances = _best_first(scores, is_open)[:k], None
    else:
        diverse = select_diverse(embeddings, scores, k, eligible=is_open)
        indices, distances = diverse.indices, diverse.distances
    backfilled = int(np.count_nonzero(~is_open[indices]))

    count = groups if groups is not None else ceil(k / group_size)
    remainder: Literal["last", "spread"] = "last" if paper else "spread"
    return Selection(
        indices=indices,
        order=curriculum(means, indices, groups=count, seed=seed, remainder=remainder),
        groups=group_sizes(k, count, remainder),
        distances=distances,
        learnability=learnable,
        learnability_raw=raw,
        representativeness=agreement,
        scores=scores,
        gate=verdicts,
        backfilled=backfilled,
        warnings=_warnings(is_open, k, backfilled),
    )


def _require_rows(values: Any, name: str, n: int) -> None:
    """ValueError unless the matrix, if there is one, has a row for each sample."""
    if values is not None and (rows := Rows(values, name).n) != n:
        raise ValueError(f"there are {n} samples with rewards and {rows} {name}: one row per sample is needed")


def _best_first(scores: FloatArray, is_open: npt.NDArray[np.bool_]) -> IndexArray:
    """All samples, the open ones first, each part by score, then position."""
    return np.lexsort((-scores, ~is_open))


def _sigma(means: FloatArray, sigma: float | None, paper: bool) -> float | Literal["pool"]:
    """The bell's width: as given, or the pool's, which only the published computation leaves without a floor."""
    if sigma is not None:
        return sigma
    return max(float(means.std()), 1e-12) if paper else "pool"


def _nothing_open(means: FloatArray, verdicts: npt.NDArray[np.int8]) -> str:
    hard, easy = (np.count_nonzero(verdicts == verdict) for verdict in (TOO_HARD, TOO_EASY))
    low, middle, high = np.quantile(means, [0, 0.5, 1])
    return (
        f"the gate leaves none of {means.size} samples: {hard} are too hard (no rollout hits) and {easy} too easy. "
        f"Mean rewards: {low:.3g} at least, {middle:.3g} in the middle, {high:.3g} at most; "
        f"{np.mean(means < 1e-5):.0%} below 1e-5. Use a policy with a training run behind it, or widen the gate."
    )


def _warnings(is_open: npt.NDArray[np.bool_], k: int, backfilled: int) -> tuple[str, ...]:
    n, n_open = is_open.size, int(np.count_nonzero(is_open))
    warnings = []
    if n_open < FEW_OPEN * n:
        warnings.append(f"only {n_open} of {n} samples ({n_open / n:.1%}) pass the gate")
    if backfilled:
        warnings.append(f"{backfilled} of the {k} selected samples are gated: only {n_open} samples pass the gate")
    return tuple(warnings)
