"""A run of the `rec_grpo` trainer on behalf of a unit: in this process, or in as many as the operator gives it."""

from __future__ import annotations

from collections.abc import Callable

from api_schemas import Ranking
from minirec.policy.load import release_policy
from minirec.policy.reference import ModelRefused
from minirec.training.grpo import TrainResult, UpdateMetrics
from minirec.training.rec_grpo import RecGrpoRun
from worker.launch import Event, run_in_processes
from worker.work import UnitError, Work


def train(
    work: Work,
    run: RecGrpoRun,
    *,
    on_update: Callable[[UpdateMetrics], None],
    on_evaluation: Callable[[int, Ranking], None] | None = None,
) -> TrainResult:
    """Train. Raises UnitError for what cannot be trained with, ModelRefused, and Interrupted."""
    if work.settings.train_processes == 1:
        return _train_here(work, run, on_update, on_evaluation)

    def on_event(event: Event) -> None:
        name = event.pop("event")
        if name == "update":
            on_update(UpdateMetrics(**event))
        elif on_evaluation is not None:
            on_evaluation(event["update"], Ranking.model_validate(event["ranking"]))

    # What was loaded here for other units would take memory from the first of the processes.
    release_policy()
    run_in_processes(work, "rec_grpo", run.model_dump(mode="json"), run.out, on_event)
    return run.result()


def _train_here(
    work: Work,
    run: RecGrpoRun,
    on_update: Callable[[UpdateMetrics], None],
    on_evaluation: Callable[[int, Ranking], None] | None,
) -> TrainResult:
    try:
        return run.train(on_update=on_update, on_evaluation=on_evaluation, on_items=lambda _: work.check())
    except ModelRefused:
        raise
    except ValueError as error:
        # Samples or settings that cannot be trained with: another attempt would end in the same way.
        raise UnitError("training_failed", str(error)) from error
