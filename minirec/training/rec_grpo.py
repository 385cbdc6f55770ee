"""A run of `train` as one value, for this process or for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from api_schemas.selections import RolloutSettings
from api_schemas.training import GrpoSettings
from api_schemas.training_jobs import Ranking
from minirec.data.dataset import Dataset
from minirec.policy.load import load_policy
from minirec.policy.ranks import ALONE, Ranks
from minirec.policy.reference import ResolvedModel
from minirec.training.evaluate import Evaluation
from minirec.training.grpo import TrainResult, UpdateMetrics, train
from minirec.training.process import Report
from minirec.training.validation import Validation

RESULT = "result.json"

_result = TypeAdapter(TrainResult)


class RecGrpoRun(BaseModel):
    """What there is to train, with files of this machine."""

    model: ResolvedModel
    samples: Path
    """The dataset's two Parquet files."""
    items: Path
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
        on_update: Callable[[UpdateMetrics], None],
        on_evaluation: Callable[[int, Ranking], None] | None = None,
        on_items: Callable[[int], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> TrainResult:
        """Load the model and train. Raises ModelRefused, and what `train` raises."""

        def hear(update: int, evaluation: Evaluation) -> None:
            if on_evaluation is not None:
                on_evaluation(update, evaluation.ranking())

        return train(
            load_policy(self.model),
            dataset=Dataset.open(self.samples, self.items),
            rows=self.rows,
            rollouts=self.rollouts,
            grpo=self.grpo,
            updates=self.updates,
            out=self.out,
            validation=self.validation,
            on_update=on_update,
            on_evaluation=hear,
            on_items=on_items,
            ranks=ranks,
        )

    def result(self) -> TrainResult:
        """What the processes of this run left."""
        return _result.validate_json((self.out / RESULT).read_bytes())


def run(told: Mapping[str, Any], ranks: Ranks, report: Report) -> None:
    """Train as one of several processes."""
    what = RecGrpoRun.model_validate(told)
    result = what.train(
        on_update=lambda metrics: report("update", asdict(metrics)),
        on_evaluation=lambda update, ranking: report("evaluation", {"update": update, "ranking": ranking.model_dump()}),
        ranks=ranks,
    )
    if ranks.is_main:
        (what.out / RESULT).write_bytes(_result.dump_json(result))
