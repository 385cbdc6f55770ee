"""The arms: which samples of the pool each one trains on, and in which order.

MiniRec's own arms and the service's baselines go through `minirec.worker.select`, the code that answers a selection
request, with the request that a user would send. The others are rules from the literature or plain ideas, a few lines
each, on the same scores. Arms that define no order train in a random one.

Training pays for ranks down to K. Arms are named for the default, a tenth of the catalogue; `, every rank` and `, K a
fiftieth` train, and judge what can be learnt, by others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.quality.runs import Bench, Scores, scores
from minirec.api_schemas import SelectionCreate
from minirec.api_schemas.baselines import Baseline
from minirec.selection import Gradients, curriculum, representativeness, select_diverse
from minirec.selection.checks import FloatArray, min_max
from minirec.worker.measured import Measured, choice_of
from minirec.worker.select import choose, choose_baselines

Picks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """What an arm may look at: one seed's scores, and what the dataset says of its samples."""

    bench: Bench
    seed: int

    @cached_property
    def scores(self) -> Scores:
        """What scoring found; measured where an arm asks first."""
        return scores(self.bench, self.seed)

    @cached_property
    def pool(self) -> Picks:
        """(N,) rows of the dataset."""
        return self.bench.draw(self.seed).pool

    @property
    def size(self) -> int:
        return self.bench.study.size

    @property
    def generator(self) -> np.random.Generator:
        """Random numbers of the seed; the same for every arm."""
        return np.random.default_rng([self.seed, 3])

    def measured(self, vector: str = "teacher") -> Measured:
        """Return the scores as the service's choice reads them."""
        found = self.scores.of_pool
        return Measured(
            rows=self.pool,
            rewards=found["reward"],
            hits=found["ndcg"] > 0,
            signal=found["signal"],
            vectors=found[vector],
            embeddings=found["embedding"],
            target_probability=found["target_probability"],
        )

    @property
    def towards(self) -> Gradients:
        """The validation samples, whose mean gradient is matched."""
        return Gradients(self.scores.of_valid["teacher"], self.scores.of_valid["embedding"])

    @property
    def mean_reward(self) -> FloatArray:
        return np.asarray(self.scores.of_pool["reward"].mean(axis=1))

    @property
    def target_popularity(self) -> FloatArray:
        """(N,) how often each sample's target was chosen in the past."""
        return self.bench.popularity[self.bench.targets[self.pool]]


Choice = Callable[[Case], Picks]
"""Positions in the pool, in training order."""


def request(size: int, seed: int, **settings: Any) -> SelectionCreate:
    """Return a selection request with these settings of `POST /v1/selections`."""
    body = {"curriculum": {"seed": seed}} | settings
    return SelectionCreate.model_validate(body | {"size": size, "dataset_id": "ds_quality", "signals": "uploaded"})


def minirec(share: float, *, vector: str = "teacher", to_pool: bool = False, **settings: Any) -> Choice:
    """Return MiniRec's choice with these settings, where a rank in this share of the catalogue is a hit."""

    def pick(case: Case) -> Picks:
        body = request(case.size, case.seed, **settings)
        hits = case.scores.of_pool["ndcg"] >= least_gain(case, share)
        matches = choice_of(body) == "matching" and not to_pool
        measured = replace(case.measured(vector), hits=hits)
        return choose(body, measured, towards=case.towards if matches else None).order

    return pick


def by_agreement(share: float) -> Choice:
    """Return the default of release 0.1: R and distance."""
    return minirec(share, weights={"choice": "diverse", "alpha": 0.0})


def baseline(arm: Baseline) -> Choice:
    """Return an arm of the service's `baselines`, in random order."""

    def pick(case: Case) -> Picks:
        body = request(case.size, case.seed, baselines=[arm])
        return case.generator.permutation(choose_baselines(body, case.measured(), case.size).picks[arm])

    return pick


def everything(case: Case) -> Picks:
    """Return the whole pool in random order."""
    return case.generator.permutation(len(case.pool))


def at_random(case: Case) -> Picks:
    """Return a random part of the pool: the start of `everything`."""
    return everything(case)[: case.size]


def top(score: Callable[[Case], FloatArray]) -> Choice:
    """Return a choice of the largest scores, ties at random, in random order."""

    def pick(case: Case) -> Picks:
        shuffled = case.generator.permutation(len(case.pool))
        best = shuffled[np.argsort(-score(case)[shuffled], kind="stable")][: case.size]
        return case.generator.permutation(best)

    return pick


def diverse(score: Callable[[Case], FloatArray]) -> Choice:
    """Return the product's greedy choice and curriculum with another score."""

    def pick(case: Case) -> Picks:
        found = case.scores.of_pool
        chosen = select_diverse(found["embedding"], min_max(score(case)), case.size).indices
        return curriculum(case.mean_reward, chosen, groups=ceil(case.size / 64), seed=case.seed)

    return pick


def within_strata(score: Callable[[Case], FloatArray], stratum: Callable[[Case], FloatArray], strata: int) -> Choice:
    """Return a choice of the largest scores within equally large strata, each giving an equal share."""

    def pick(case: Case) -> Picks:
        shuffled = case.generator.permutation(len(case.pool))
        order = shuffled[np.argsort(stratum(case)[shuffled], kind="stable")]
        values, chosen = score(case), []
        for number, members in enumerate(np.array_split(order, strata)):
            share = case.size * (number + 1) // strata - case.size * number // strata
            chosen.append(members[np.argsort(-values[members], kind="stable")][:share])
        return case.generator.permutation(np.concatenate(chosen))

    return pick


def mixed(choice: Choice, share: float) -> Choice:
    """Return a choice of which a share is replaced by samples drawn at random from the rest of the pool."""

    def pick(case: Case) -> Picks:
        ours = round(case.size * (1 - share))
        chosen = case.generator.permutation(choice(case))[:ours]
        rest = case.generator.permutation(np.setdiff1d(np.arange(len(case.pool)), chosen))
        return case.generator.permutation(np.concatenate([chosen, rest[: case.size - ours]]))

    return pick


def agreement_with_pool(case: Case) -> FloatArray:
    """R: how well a sample's teacher-forced gradient agrees with the pool's mean direction."""
    return representativeness(case.scores.of_pool["teacher"])


def agreement_with_validation(case: Case) -> FloatArray:
    """GradAlign: the same against the mean direction of the validation samples."""
    towards = units(case.scores.of_valid["teacher"]).mean(axis=0)
    return np.asarray(units(case.scores.of_pool["teacher"]) @ towards)


def advantage_agreement_with_validation(case: Case) -> FloatArray:
    """GradAlign with the policy's own advantages on both sides, as published."""
    towards = units(case.scores.of_valid["gradient"]).mean(axis=0)
    return np.asarray(units(case.scores.of_pool["gradient"]) @ towards)


def learnalign(case: Case) -> FloatArray:
    """LearnAlign: agreement with the pool times p(1 - p)."""
    reward = case.mean_reward
    return agreement_with_pool(case) * min_max(reward * (1 - reward))


def near_half(case: Case) -> FloatArray:
    """DOTS and MoPPS: mean reward nearest to 1/2."""
    return -np.abs(case.mean_reward - 0.5)


def hardest_open(case: Case) -> FloatArray:
    """The lowest mean reward among samples that hit in the first tenth of the catalogue."""
    return np.where(hits_in(case, 0.1), 1 - case.mean_reward, -1.0)


def open_at_random(share: float) -> Choice:
    """Return a random choice among samples that hit in this share of the catalogue: the gate alone."""
    return top(lambda case: hits_in(case, share).astype(np.float64))


def progress(case: Case) -> FloatArray:
    """LIMR, as far as one proxy shows it: how much the proxy's training raised the mean reward."""
    return np.asarray(case.mean_reward - case.scores.of_pool["base_reward"].mean(axis=1))


def spread(case: Case) -> FloatArray:
    """VCRL: the standard deviation of a group's rewards."""
    return np.asarray(case.scores.of_pool["reward"].std(axis=1))


def spread_within(share: float) -> Callable[[Case], FloatArray]:
    """The same of rewards that are zero beyond this share of the catalogue."""

    def score(case: Case) -> FloatArray:
        gains = case.scores.of_pool["ndcg"]
        return np.asarray(np.where(gains >= least_gain(case, share), gains, 0).std(axis=1))

    return score


def spread_and_agreement(case: Case) -> FloatArray:
    """Spread and R, each moved to [0, 1]."""
    return np.asarray(min_max(spread(case)) + min_max(agreement_with_pool(case)))


def recency(case: Case) -> FloatArray:
    """The latest samples: rows are in the order of time."""
    return np.array([case.bench.dataset.sample(int(row)).timestamp or 0.0 for row in case.pool])


def hits_in(case: Case, share: float) -> npt.NDArray[np.bool_]:
    """(N,) whether any rollout ranks its target in this share of the catalogue."""
    return np.asarray((case.scores.of_pool["ndcg"] >= least_gain(case, share)).any(axis=1))


def least_gain(case: Case, share: float) -> float:
    """Return the NDCG of a target that is ranked just within this share of the catalogue."""
    return float(1 / np.log2(share * len(case.bench.dataset.items) + 1))


def distinct_targets(case: Case) -> Picks:
    """Return a random choice in which no target comes twice as long as there are others."""
    shuffled = case.generator.permutation(len(case.pool))
    targets = case.bench.targets[case.pool][shuffled]
    _, first = np.unique(targets, return_index=True)
    first.sort()
    rest = np.setdiff1d(np.arange(len(shuffled)), first)
    return np.asarray(shuffled[np.concatenate([first, rest])][: case.size])


def units(vectors: npt.NDArray[Any]) -> FloatArray:
    lengths = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


REGIMES: Final = {"": 0.1, ", every rank": 1.0, ", K a fiftieth": 0.02}
"""K as a share of the catalogue, by the end of an arm's name."""
IN_REGIMES: Final[dict[str, Callable[[float], Choice]]] = {
    "full data": lambda _: everything,
    "random": lambda _: at_random,
    "MiniRec": minirec,
    "gate alone": open_at_random,
    "spread": lambda share: top(spread_within(share)),
    "R and distance": by_agreement,
}
ARMS: Final[dict[str, Choice]] = {
    f"{name}{regime}": make(share) for regime, share in REGIMES.items() for name, make in IN_REGIMES.items()
}
"""In the order of the table. All but full data choose as many samples as the study's size."""
BASELINE_NAMES: Final[dict[Baseline, str]] = {
    "random": "random",
    "kmeans": "k-means coverage",
    "grand": "GraNd",
    "el2n": "EL2N",
    "top_learnability": "top learnability",
}
"""What the tables call each of the service's baselines; `random` is drawn as the start of full data."""
FROM_ELSEWHERE: Final[dict[str, Choice]] = {
    **{name: baseline(arm) for arm, name in BASELINE_NAMES.items() if arm != "random"},
    "MiniRec towards the pool": minirec(0.1, to_pool=True),
    "MiniRec without a gate": minirec(1.0),
    "MiniRec, half random": mixed(minirec(0.1), 0.5),
    "R and distance, half random": mixed(by_agreement(0.1), 0.5),
    "R, L and distance": minirec(0.1, weights={"alpha": 1.0}),
    "paper profile": minirec(1.0, vector="hvp", profile="paper"),
    "best by R": top(agreement_with_pool),
    "R within popularity strata": within_strata(agreement_with_pool, lambda case: case.target_popularity, 10),
    "R towards validation": top(agreement_with_validation),
    "R towards validation, advantages": top(advantage_agreement_with_validation),
    "LearnAlign": top(learnalign),
    "spread, diverse": diverse(spread),
    "spread and R": top(spread_and_agreement),
    "progress": top(progress),
    "nearest to 1/2": top(near_half),
    "hardest open": top(hardest_open),
    "best mean reward": top(lambda case: case.mean_reward),
    "latest": top(recency),
    "distinct targets": distinct_targets,
}
OTHERS: Final[dict[str, Choice]] = {
    **{f"{name}{regime}": arm for name, arm in FROM_ELSEWHERE.items() for regime in REGIMES},
    "full data, every rank, constant rate": everything,
    "random, every rank, constant rate": at_random,
    "full data, every rank, learning rate 1e-5": everything,
    "full data, every rank, learning rate 3e-5": everything,
    "full data, every rank, learning rate 3e-4": everything,
    "full data, every rank, items only": everything,
    "full data, every rank, 64 negatives": everything,
}
"""Arms that are run where they are asked for."""
KNOWN: Final = ARMS | OTHERS
CHANGES: Final[dict[str, dict[str, Any]]] = {
    ", constant rate": {"learning_rate_schedule": "constant"},
    ", learning rate 1e-5": {"learning_rate": 1e-5},
    ", learning rate 3e-5": {"learning_rate": 3e-5},
    ", learning rate 3e-4": {"learning_rate": 3e-4},
    ", items only": {"token_loss_weight": 0.0},
    ", 64 negatives": {"item_negatives": 64},
}


def trained_by(arm: str) -> dict[str, Any]:
    """Return how an arm's training differs from the study's."""
    share = next((share for end, share in REGIMES.items() if end and end in arm), REGIMES[""])
    changed = next((settings for end, settings in CHANGES.items() if arm.endswith(end)), {})
    return {"ndcg_share": share} | changed


def random_beside(arm: str) -> str:
    """Return the random arm that an arm is compared with: the one with the same K."""
    return "random" + next((end for end in REGIMES if end and end in arm), "")
