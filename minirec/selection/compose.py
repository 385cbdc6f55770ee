"""The whole selection: gate, scores, diverse choice and curriculum, from the signals of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, Hits, IndexArray, Rewards, finite_matrix, min_max, require_size
from minirec.selection.curriculum import curriculum, group_sizes
from minirec.selection.diversity import select_diverse
from minirec.selection.findings import Scale, gate_warnings, nothing_open, reward_warnings, tie_warning
from minirec.selection.gate import MIN_SPREAD, OPEN, TOO_EASY_REWARD, gate
from minirec.selection.learnability import MU, learnability
from minirec.selection.matching import Gradients, select_matching
from minirec.selection.representativeness import Direction, representativeness
from minirec.selection.rows import Rows
from minirec.selection.strata import Quotas, proportional_quotas, stratum_codes
from minirec.selection.ties import merge_equal, tie_order

Profile = Literal["minirec", "paper"]
Vector = Literal["teacher", "gradient", "hvp"]
Choice = Literal["matching", "diverse"]
GROUP_SIZE: Final = 64
SEED: Final = 42


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
    """(k,) distance of each choice to those before it, infinite for the first; None without embeddings, and for a
    choice by matching."""
    learnability: FloatArray
    """(N,) L over the pool, in [0, 1]."""
    learnability_raw: FloatArray
    """(N,) L before the min-max."""
    representativeness: FloatArray | None
    """(N,) R over the pool, in [0, 1]; None without vectors."""
    scores: FloatArray
    """(N,) alpha * L + R."""
    choice: Choice
    """How the samples were chosen."""
    gate: npt.NDArray[np.int8]
    """(N,) verdicts `OPEN`, `TOO_HARD`, `TOO_EASY` and `NO_SPREAD`; all open where no gate applies."""
    backfilled: int
    """How many were chosen although gated, because the open samples ran out."""
    warnings: tuple[str, ...]
    """What a person should know about this selection."""


def default_choice(profile: Profile, vector: Vector | None, alpha: float | None, *, has_vectors: bool) -> Choice:
    """Return how to choose where nothing was said (docs/method.md, section 5).

    By matching in profile "minirec" beside teacher-forced vectors, unless L is to count; else by score and distance.
    """
    is_teacher = vector in (None, "teacher")
    return "matching" if profile == "minirec" and has_vectors and is_teacher and not alpha else "diverse"


def select(
    *,
    rewards: Rewards,
    k: int,
    hits: Hits | None = None,
    vectors: Any = None,
    embeddings: Any = None,
    ids: Sequence[str] | None = None,
    strata: npt.ArrayLike | None = None,
    profile: Profile = "minirec",
    vector: Vector | None = None,
    choice: Choice | None = None,
    towards: Gradients | None = None,
    alpha: float | None = None,
    mu: float = MU,
    sigma: float | None = None,
    gated: bool = True,
    too_easy_reward: float = TOO_EASY_REWARD,
    min_spread: float = MIN_SPREAD,
    groups: int | None = None,
    group_size: int = GROUP_SIZE,
    seed: int = SEED,
) -> Selection:
    """Choose k samples to train on and put them in order (docs/method.md, sections 3 to 6).

    profile "paper" is the published computation: no gate, no floor under sigma, R against the mean of the raw vectors,
    equal samples in the order of the pool, and the remainder of the curriculum in its last group. "minirec" corrects
    these five.

    Args:
        rewards: (N, G) of the pool.
        k: How many samples to choose.
        hits: (N, G) whether a rollout reached the goal; without them, whether its reward is at least 0.001.
        vectors: (N, d) behind R. Without them the score is alpha * L alone.
        embeddings: (N, e). Without them the k largest scores are chosen, whatever they have in common.
        ids: (N,) ids of the samples. Equal samples go by a hash of `seed` and id; by row number without ids.
        strata: (N,) values; of samples with the same one no more are chosen than their share of k.
        profile: "minirec" or "paper".
        vector: What `vectors` are: "teacher" (default of "minirec"), "gradient" or "hvp".
        choice: "matching" takes the samples whose gradients together come nearest to the mean of the pool, or of
            `towards`; "diverse" those that score high and lie far from one another. See `default_choice` for None.
        towards: Gradients of validation samples, for "matching".
        alpha: Weight of L beside R. None is 0 for "matching", where the gate is all that L has to say, else 1.
        mu: Mean reward at which a sample is most learnable.
        sigma: Width of the bell; None takes the pool's standard deviation of mean rewards.
        gated: Whether samples that cannot teach are set aside.
        too_easy_reward: See `minirec.selection.gate`.
        min_spread: See `minirec.selection.gate`.
        groups: Groups of the curriculum; None takes as many as it takes for about `group_size` samples each.
        group_size: See `groups`.
        seed: Of the curriculum, and of who goes first among equals.

    Returns:
        The choice, its order, and what was computed of every sample.

    Raises:
        EmptySelectionError: The gate leaves nothing.
        RowError: NaN or infinity, or an embedding without direction.
        ValueError: Arrays that disagree in N, or k > N.
    """
    values = finite_matrix(rewards, "rewards")
    n = len(values)
    require_size(k, n)
    _require_rows(embeddings, "embeddings", n)
    _require_rows(vectors, "vectors", n)
    if ids is not None and len(ids) != n:
        raise ValueError(f"there are {n} samples with rewards and {len(ids)} ids: one id per sample is needed")
    paper = profile == "paper"
    if alpha is not None and not 0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha}")
    if choice is None:
        choice = default_choice(profile, vector, alpha, has_vectors=vectors is not None)
    matching = choice == "matching"
    weight = float(not matching) if alpha is None else alpha
    _require_reason(matching, weight, vectors, towards)

    means = values.mean(axis=1)
    raw = learnability(values, mu=mu, sigma=_sigma(means, sigma, paper), normalize=False)
    # The min-max would make a ranking of rounding where all values are alike, so equal ones are made the same before.
    same = (lambda scores: scores) if paper else merge_equal
    learnable = min_max(same(raw))
    agreement = None
    if vectors is not None and not matching:
        direction: Direction = "mean" if paper else "unit_mean"
        agreement = min_max(same(representativeness(vectors, direction=direction, normalize=False)))
    verdicts = np.full(n, OPEN, dtype=np.int8)
    if gated and not paper:
        verdicts = gate(values, hits, too_easy_reward=too_easy_reward, min_spread=min_spread)
    is_open = verdicts == OPEN
    scale = Scale(hits is not None, mu, too_easy_reward)
    if not is_open.any():
        raise EmptySelectionError(nothing_open(values, verdicts, scale))

    order = np.arange(n) if paper else tie_order(n if ids is None else ids, seed)
    codes = None if strata is None else stratum_codes(strata, n)
    if matching:
        matched = select_matching(
            Gradients(vectors, embeddings), k, towards=towards, eligible=is_open, strata=codes, tie_order=order
        )
        agreement = min_max(matched.agreement)
    scores = weight * learnable if agreement is None else weight * learnable + agreement
    levels = same(scores)
    if not paper and levels[is_open].max() == 0:
        levels = np.where(is_open, 1.0, levels)  # One score for all would make every product 0: distances decide.
    if matching:
        indices, distances, n_by_score = matched.indices, None, 0
    elif embeddings is None:
        indices, distances, n_by_score = _best_first(levels, is_open, k, codes, order), None, k
    else:
        diverse = select_diverse(embeddings, levels, k, eligible=is_open, strata=codes, tie_order=order)
        indices, distances, n_by_score = diverse.indices, diverse.distances, diverse.n_by_score
    backfilled = int(np.count_nonzero(~is_open[indices]))

    count = groups if groups is not None else ceil(k / group_size)
    remainder: Literal["last", "spread"] = "last" if paper else "spread"
    ties = tie_warning(
        scores=levels,
        is_open=is_open,
        codes=codes,
        indices=indices,
        n_by_score=n_by_score,
        has_embeddings=embeddings is not None,
        how="in the order of the pool" if paper else f"at random (seed {seed})",
    )
    return Selection(
        indices=indices,
        order=curriculum(means, indices, groups=count, seed=seed, remainder=remainder),
        groups=group_sizes(k, count, remainder),
        distances=distances,
        learnability=learnable,
        learnability_raw=raw,
        representativeness=agreement,
        scores=scores,
        choice=choice,
        gate=verdicts,
        backfilled=backfilled,
        warnings=(*gate_warnings(is_open, k, backfilled), *reward_warnings(values, scale), *ties),
    )


def _require_reason(matching: bool, weight: float, vectors: Any, towards: Gradients | None) -> None:
    """Raise ValueError unless there is something to choose by."""
    if matching and vectors is None:
        raise ValueError("matching compares gradients: it needs vectors")
    if matching and weight:
        raise ValueError("alpha weighs L in a score, and matching has none: leave alpha out, or choose 'diverse'")
    if towards is not None and not matching:
        raise ValueError("towards is what 'matching' matches: leave it out beside 'diverse'")
    if weight == 0 and vectors is None:
        raise ValueError("alpha is 0 and there are no vectors: nothing is left to choose by")


def _require_rows(values: Any, name: str, n: int) -> None:
    """Raise ValueError unless the matrix, if there is one, has a row for each sample."""
    if values is not None and (rows := Rows(values, name).n) != n:
        raise ValueError(f"there are {n} samples with rewards and {rows} {name}: one row per sample is needed")


def _best_first(
    scores: FloatArray,
    is_open: npt.NDArray[np.bool_],
    k: int,
    codes: IndexArray | None,
    order: IndexArray,
) -> IndexArray:
    """Return k samples, the open ones first, each part by score, then `order`, within the quotas of their strata."""
    best_first = np.lexsort((order, -scores, ~is_open))
    if codes is None:
        return best_first[:k]
    n_open = int(np.count_nonzero(is_open))
    chosen = []
    for part, among, count in (
        (best_first[:n_open], is_open, min(k, n_open)),
        (best_first[n_open:], ~is_open, k - min(k, n_open)),
    ):
        if count:
            quotas = Quotas(codes, proportional_quotas(codes, among, count, scores, order))
            chosen.append(part[quotas.fitting(part)])
    return np.concatenate(chosen)


def _sigma(means: FloatArray, sigma: float | None, paper: bool) -> float | Literal["pool"]:
    """Return the bell's width: as given, or the pool's, which only the published computation leaves without a floor."""
    if sigma is not None:
        return sigma
    return max(float(means.std()), 1e-12) if paper else "pool"
