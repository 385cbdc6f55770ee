"""Specs of the stages that belong to an evaluation alone; what measures is `EvaluateSpec`, as for training jobs."""

from __future__ import annotations

from minirec.specs.base import JobSpec
from minirec.specs.selection import PrepareSelection


class PrepareEvaluation(PrepareSelection):
    """Check the model, draw the held-out samples, plan the stages that follow."""

    HANDLER = "prepare_evaluation"


class FinishEvaluation(JobSpec):
    """Hand a measured evaluation to the job."""

    HANDLER, VERSION, QUEUE, PREFIX = "finish_evaluation", "1", "cpu", "finish"

    evaluation: str
    """Name of what was measured."""
