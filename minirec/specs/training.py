"""Specs of a training job's stages, and of evaluations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from minirec.api_schemas import EarlyStopping, GrpoSettings, RolloutSettings, TextReward
from minirec.api_schemas.common import OPERATIONAL
from minirec.specs import outputs
from minirec.specs.base import WITH_PROMPTS, JobSpec, PinnedModel, UnitSpec
from minirec.specs.selection import PrepareSelection


class PrepareTraining(PrepareSelection):
    """Check the model, fix the samples and their order, plan the stages that follow."""

    HANDLER = "prepare_training"


class PolicyOnRows(UnitSpec):
    """Work with a policy on rows of a dataset; they are stored as columns, by the name of the spec."""

    content_hash: str
    model: PinnedModel
    rollouts: RolloutSettings
    rewards: tuple[TextReward, ...] | None = None
    """What answers to prompts earn; None for interactions."""

    @field_validator("rollouts")
    @classmethod
    def _samples_with_transformers(cls, rollouts: RolloutSettings) -> RolloutSettings:
        # Whichever engine sampled for the scores.
        return rollouts.model_copy(update={"engine": "transformers"})

    def rows_columns(self, use: str) -> str:
        """Return the columns with the rows for `use`: train, valid or test."""
        return outputs.rows_columns(self.name, use)


class TrainSpec(PolicyOnRows):
    """Train on samples in their order."""

    HANDLER, VERSION, QUEUE = "train", f"3+{WITH_PROMPTS}", "train"

    train: str
    """Fingerprint of the rows to train on, in order."""
    valid: str
    """Fingerprint of the rows to validate on."""
    updates: Annotated[int, Field(ge=1)]
    grpo: GrpoSettings
    every: Annotated[int, Field(ge=1)]
    """Updates between two evaluations."""
    early_stopping: EarlyStopping | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Adapter, metrics, summary, checkpoints, and the rows."""
        rows = (outputs.columns_output(self.rows_columns(use)) for use in ("train", "valid"))
        return (outputs.training_folder(self.name), *rows)


class EvaluateSpec(PolicyOnRows):
    """Evaluate a model as it is, with its own adapter, or with the one that a training run leaves."""

    HANDLER, VERSION, QUEUE = "evaluate", f"2+{WITH_PROMPTS}", "train"

    rows: str
    """Fingerprint of the held-out rows."""
    training: str | None = None
    """Name of the training run whose adapter is on the model."""
    catalogue: Annotated[str | None, OPERATIONAL] = None
    """Name of a catalogue that was perhaps embedded under the same policy."""
    split: Annotated[str, OPERATIONAL] = "test"
    """What the rows are called in events."""

    @property
    def blob(self) -> str:
        """The blob of the result: a `Ranking` or a `TextScore` as JSON."""
        return outputs.evaluation_blob(self.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The result, and the rows."""
        return (self.blob, outputs.columns_output(self.rows_columns("test")))


class FinishTraining(JobSpec):
    """Sum up a training run and its evaluations."""

    HANDLER, VERSION, QUEUE, PREFIX = "finish_training", "2", "cpu", "finish"

    training: str
    """Name of the training run."""
    before: str | None = None
    """Name of the evaluation before it."""
    after: str | None = None
    """Name of the one after it."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The job's own file."""
        return (outputs.job_folder(self.job_id),)
