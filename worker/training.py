"""A training run on behalf of a unit: in this process, or in as many as the operator gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minirec.policy.load import release_policy
from minirec.policy.reference import ModelRefused
from minirec.training.grpo import TrainResult
from minirec.training.runs import TrainingRun
from minirec.training.settings import Callbacks
from minirec.worker.launch import Event, run_in_processes
from minirec.worker.work import UnitError, Work

OnUpdate = Callable[[dict[str, Any]], None]
"""Hears the metrics of an update."""
OnEvaluation = Callable[[int, dict[str, Any]], None]
"""Hears how many updates there were, and the summary of an evaluation on validation samples."""


def train(
    work: Work, run: TrainingRun, *, on_update: OnUpdate, on_evaluation: OnEvaluation | None = None
) -> TrainResult[Any]:
    """Train. Raises UnitError for what cannot be trained with, ModelRefused, and Interrupted."""
    if work.settings.train_processes == 1 and not run.own_process:
        return _train_here(work, run, on_update, on_evaluation)

    def on_event(event: Event) -> None:
        if event.pop("event") == "update":
            on_update(event)
        elif on_evaluation is not None:
            on_evaluation(event["update"], event["summary"])

    # What was loaded here for other units would take memory from the first of the processes.
    release_policy()
    run_in_processes(work, run.trainer, run.model_dump(mode="json"), run.settings.out, on_event)
    return run.result()


def _train_here(
    work: Work, run: TrainingRun, on_update: OnUpdate, on_evaluation: OnEvaluation | None
) -> TrainResult[Any]:
    try:
        return run.train(Callbacks(on_update, on_evaluation, lambda _: work.check()))
    except ModelRefused:
        raise
    except ValueError as error:
        # Samples or settings that cannot be trained with: another attempt would end in the same way.
        raise UnitError("training_failed", str(error)) from error
