# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.evaluations`: how good a model is on held-out samples."""

from __future__ import annotations

from collections.abc import Mapping

from minirec.api_schemas import EVALUATION, Evaluation
from minirec.api_schemas.evaluations import EvaluatedSplit
from minirec.client._sync.jobs import Jobs, LiveJob
from minirec.client._sync.transport import Transport
from minirec.client.core import Call
from minirec.client.refs import DatasetRef, dataset_of
from minirec.client.selection_calls import Model, Rollouts, TextRewards, given, named


class LiveEvaluation(Evaluation, LiveJob):
    """An evaluation, and what can be done with it."""


class Evaluations(Jobs[LiveEvaluation]):
    """Start evaluations, follow them, read their results."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, EVALUATION, LiveEvaluation)

    def create(
        self,
        *,
        dataset: DatasetRef,
        model: Model,
        split: EvaluatedSplit | None = None,
        max_samples: int | None = None,
        rewards: TextRewards | None = None,
        rollouts: Rollouts | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> LiveEvaluation:
        """Start to evaluate a model on a split of a dataset, the `test` split unless given.

        Args:
            dataset: The dataset, or its id.
            model: Hub id, or a `ModelReference`, which may have an adapter.
            split: Whose samples; `all` for every sample of the dataset.
            max_samples: Evaluate a random part of this many samples only.
            rewards: What answers to a dataset of prompts earn: names, or `{"name", "weight"}`.
            rollouts: Of these, `window` and `max_new_tokens` count: there is one greedy rollout per sample.
            seed: Of the random part.
            metadata: Kept with the evaluation.

        Raises:
            UnprocessableError: Its `errors` name the settings at fault.
        """
        body = given(
            dataset_id=dataset_of(dataset),
            model=model,
            split=split,
            max_samples=max_samples,
            rewards=named(rewards),
            rollouts=rollouts,
            seed=seed,
            metadata=metadata,
        )
        return self._job(Call("POST", EVALUATION.path, json=body))
