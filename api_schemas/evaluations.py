"""Evaluations: how good a model is on a dataset's held-out samples, without training anything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from minirec.api_schemas.common import Echo, Metadata, PositiveInt, Request, Response, Seed
from minirec.api_schemas.jobs import Job, id_pattern
from minirec.api_schemas.models import ModelReference
from minirec.api_schemas.rewards import Rewards
from minirec.api_schemas.rows import Split
from minirec.api_schemas.selections import RolloutSettings

EvaluatedSplit = Literal[Split, "all"]


class Ranking(Response):
    """How well a policy ranks held-out targets: means over samples."""

    samples: int
    """How many samples were ranked."""
    hr: dict[str, float]
    """HR@k by k (5, 10, 20, 50)."""
    ndcg: dict[str, float]
    """NDCG@k by k."""
    ndcg_full: float | None = None
    """1 / log2(rank + 1) over all ranks, without a cutoff: the steadiest of these, which the best adapter is chosen by.
    Null in results of release 0.1."""


class TextScore(Response):
    """What answers to held-out prompts earn: means over prompts."""

    samples: int
    """How many prompts were answered."""
    reward_mean: float
    """Mean reward of the answers."""
    pass_rate: float
    """Share of the answers that earn something."""


class EvaluationCreate(Request):
    """Body of `POST /v1/evaluations`."""

    dataset_id: Annotated[str, Field(pattern=id_pattern("ds"))]
    """The dataset whose samples are evaluated."""
    model: ModelReference
    """The model to evaluate, with its adapter inside."""
    split: EvaluatedSplit = "test"
    """Evaluate the samples of this split; `all` evaluates every sample of the dataset."""
    max_samples: PositiveInt | None = None
    """A seeded random part of them, to spend less; null evaluates all."""
    rewards: Rewards | None = None
    """What an answer to a prompt earns; interactions are ranked and need none."""
    rollouts: RolloutSettings = RolloutSettings()
    """How to sample. There is one greedy rollout per sample, so only `window` and `max_new_tokens` have an effect; the
    rollouts of a selection or of a training job can be passed as they are."""
    seed: Seed = 0
    """Of the random part that `max_samples` takes."""
    metadata: Metadata = {}
    """Key-value pairs to keep with the evaluation; lists can be filtered by them."""

    @model_validator(mode="after")
    def _samples_with_transformers(self) -> EvaluationCreate:
        if self.rollouts.engine != "transformers":
            raise ValueError("evaluations sample with transformers: leave out rollouts.engine")
        return self


class EvaluationResult(Response):
    """What an evaluation found: `ranking` for interactions, `text` for prompts."""

    samples: int
    """How many samples were evaluated."""
    ranking: Ranking | None = None
    """HR and NDCG of interactions; null for prompts."""
    text: TextScore | None = None
    """Rewards of answers to prompts; null for interactions."""


class Evaluation(Job):
    """An evaluation job. Its stages are preparing, evaluating and finishing."""

    object: Literal["evaluation"] = "evaluation"
    """Always `evaluation`."""
    samples_done: int = 0
    """Samples evaluated so far."""
    samples_total: int | None = None
    """Known once the job is prepared."""
    request: Echo[EvaluationCreate]
    """The request that started it, with its defaults."""
    result: EvaluationResult | None = None
    """What was measured; null until it has succeeded."""
