"""Training runs as values: what there is to train, with files of this machine, for this process or for several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, TypeAdapter

from api_schemas.rewards import TextReward
from api_schemas.selections import RolloutSettings
from api_schemas.training import GrpoSettings
from minirec.data.dataset import Dataset, PromptDataset
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.ranks import ALONE, Ranks
from minirec.policy.reference import ResolvedModel
from minirec.rewards import Scorer
from minirec.training.grpo import TrainResult, UpdateMetrics, train
from minirec.training.validation import Validation

RESULT = "result.json"

OnUpdate = Callable[[dict[str, Any]], None]
"""Hears the metrics of an update."""
OnEvaluation = Callable[[int, dict[str, Any]], None]
"""Hears how many updates there were, and the summary of an evaluation on validation samples."""


class TrainingRun(BaseModel):
    """One run of a trainer."""

    trainer: ClassVar[str]
    apart: ClassVar[bool]
    """Whether it needs a process that does nothing else."""

    model: ResolvedModel
    rows: list[int]
    """Samples to train on, in order."""
    rollouts: RolloutSettings
    grpo: GrpoSettings
    updates: int
    validation: Validation | None = None
    out: Path
    """Folder of checkpoints and adapter."""

    def train(
        self,
        *,
        on_update: OnUpdate | None = None,
        on_evaluation: OnEvaluation | None = None,
        on_progress: Callable[[int], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> TrainResult[Any]:
        """Load the model and train. Raises ModelRefused, and what the trainer raises."""
        return self._train(
            load_policy(self.model),
            on_progress,
            rows=self.rows,
            rollouts=self.rollouts,
            grpo=self.grpo,
            updates=self.updates,
            out=self.out,
            validation=self.validation,
            on_update=_told_of_updates(on_update),
            on_evaluation=_told_of_evaluations(on_evaluation),
            ranks=ranks,
        )

    @abstractmethod
    def _train(self, policy: Policy, on_progress: Callable[[int], None] | None, **settings: Any) -> TrainResult[Any]:
        """Call the trainer with its dataset."""

    @classmethod
    @abstractmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        """How a result is written as JSON and read again."""

    def take_part(self, ranks: Ranks, report: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Train as one of several processes; the main one reports, and leaves the result as a file."""
        result = self.train(
            on_update=lambda metrics: report("update", metrics),
            on_evaluation=lambda update, summary: report("evaluation", {"update": update, "summary": summary}),
            ranks=ranks,
        )
        if ranks.is_main:
            (self.out / RESULT).write_bytes(self.results().dump_json(result))

    def result(self) -> TrainResult[Any]:
        """What the processes of this run left."""
        return self.results().validate_json((self.out / RESULT).read_bytes())


class RecGrpoRun(TrainingRun):
    """Interactions: reasoning and the recommendation head."""

    trainer = "rec_grpo"
    apart = False

    samples: Path
    """The dataset's two Parquet files."""
    items: Path

    def _train(
        self, policy: Policy, on_progress: Callable[[int], None] | None, **settings: Any
    ) -> TrainResult[UpdateMetrics]:
        return train(policy, dataset=Dataset.open(self.samples, self.items), on_items=on_progress, **settings)

    @classmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        return TypeAdapter(TrainResult[UpdateMetrics])


class TextGrpoRun(TrainingRun):
    """Prompts, with TRL's trainer, which takes over the model and the random numbers of its process."""

    trainer = "text_grpo"
    apart = True

    prompts: Path
    """The dataset's Parquet file."""
    rewards: list[TextReward]

    def _train(self, policy: Policy, on_progress: Callable[[int], None] | None, **settings: Any) -> TrainResult[Any]:
        from minirec.training.text_grpo import train_text  # TRL takes seconds to import

        dataset, scorer = PromptDataset.open(self.prompts), Scorer(self.rewards)
        return train_text(policy, dataset=dataset, scorer=scorer, on_prompts=on_progress, **settings)

    @classmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        from minirec.training.text_metrics import TextMetrics

        return TypeAdapter(TrainResult[TextMetrics])


RUNS: Mapping[str, type[TrainingRun]] = {run.trainer: run for run in (RecGrpoRun, TextGrpoRun)}


def _told_of_updates(on_update: OnUpdate | None) -> Callable[[Any], None] | None:
    return None if on_update is None else lambda metrics: on_update(asdict(metrics))


def _told_of_evaluations(on_evaluation: OnEvaluation | None) -> Callable[[int, Any], None] | None:
    if on_evaluation is None:
        return None
    return lambda update, evaluation: on_evaluation(update, evaluation.summary().model_dump())
