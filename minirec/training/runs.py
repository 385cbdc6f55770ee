"""Training runs as values: what there is to train, with files of this machine, for this process or for several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, TypeAdapter

from minirec.api_schemas.rewards import TextReward
from minirec.data.dataset import Dataset, PromptDataset
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.policy.reference import ResolvedModel
from minirec.rewards import Scorer
from minirec.training.grpo import TrainResult, UpdateMetrics, train
from minirec.training.settings import Callbacks, RunSettings

RESULT = "result.json"


class TrainingRun(BaseModel):
    """One run of a trainer."""

    trainer: ClassVar[str]
    own_process: ClassVar[bool]
    """Whether it needs a process that does nothing else."""

    model: ResolvedModel
    settings: RunSettings

    def train(self, callbacks: Callbacks | None = None, *, ranks: Ranks = SINGLE_PROCESS) -> TrainResult[Any]:
        """Load the model and train. Metrics and evaluations are reported as dicts that JSON can hold.

        Raises ModelRefused, and what the trainer raises.
        """
        return self._train(load_policy(self.model), _reporting_dicts(callbacks or Callbacks()), ranks)

    @abstractmethod
    def _train(self, policy: Policy, callbacks: Callbacks, ranks: Ranks) -> TrainResult[Any]:
        """Call the trainer with its dataset."""

    @classmethod
    @abstractmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        """Return how a result is written as JSON and read again."""

    def take_part(self, ranks: Ranks, report: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Train as one of several processes; the main one reports, and leaves the result as a file."""
        result = self.train(
            Callbacks(
                on_update=lambda metrics: report("update", metrics),
                on_evaluation=lambda update, summary: report("evaluation", {"update": update, "summary": summary}),
            ),
            ranks=ranks,
        )
        if ranks.is_main:
            (self.settings.out / RESULT).write_bytes(self.results().dump_json(result))

    def result(self) -> TrainResult[Any]:
        """Return what the processes of this run left."""
        return self.results().validate_json((self.settings.out / RESULT).read_bytes())


class RecGrpoRun(TrainingRun):
    """Interactions: reasoning and the recommendation head."""

    trainer = "rec_grpo"
    own_process = False

    samples: Path
    """The dataset's two Parquet files."""
    items: Path

    def _train(self, policy: Policy, callbacks: Callbacks, ranks: Ranks) -> TrainResult[UpdateMetrics]:
        return train(policy, Dataset.open(self.samples, self.items), self.settings, callbacks, ranks=ranks)

    @classmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        return TypeAdapter(TrainResult[UpdateMetrics])


class TextGrpoRun(TrainingRun):
    """Prompts, with TRL's trainer, which takes over the model and the random numbers of its process."""

    trainer = "text_grpo"
    own_process = True

    prompts: Path
    """The dataset's Parquet file."""
    rewards: list[TextReward]

    def _train(self, policy: Policy, callbacks: Callbacks, ranks: Ranks) -> TrainResult[Any]:
        from minirec.training.text_grpo import train_text  # TRL takes seconds to import

        dataset, scorer = PromptDataset.open(self.prompts), Scorer(self.rewards)
        return train_text(policy, dataset, scorer, self.settings, callbacks, ranks=ranks)

    @classmethod
    def results(cls) -> TypeAdapter[TrainResult[Any]]:
        from minirec.training.text_metrics import TextMetrics

        return TypeAdapter(TrainResult[TextMetrics])


RUNS: Mapping[str, type[TrainingRun]] = {run.trainer: run for run in (RecGrpoRun, TextGrpoRun)}


def _reporting_dicts(callbacks: Callbacks) -> Callbacks:
    """Return callbacks for a trainer that pass on what it reports as dicts."""
    on_update, on_evaluation = callbacks.on_update, callbacks.on_evaluation
    return Callbacks(
        on_update=on_update and (lambda metrics: on_update(asdict(metrics))),
        on_evaluation=on_evaluation
        and (lambda update, evaluation: on_evaluation(update, evaluation.summary().model_dump())),
        on_progress=callbacks.on_progress,
    )
