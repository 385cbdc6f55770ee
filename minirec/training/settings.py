"""What a run trains on and how, and who hears of it: the same for every trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings
from minirec.training.batches import Schedule
from minirec.training.validation import Validation


@dataclass(frozen=True)
class RunSettings:
    """A training run, whatever its trainer."""

    rows: Sequence[int]
    """Samples to train on, in order; gone through again and again."""
    rollouts: RolloutSettings
    grpo: GrpoSettings
    out: Path
    """Folder of checkpoints and adapter."""
    updates: int | None = None
    """Updates after which it ends; None ends it after `epochs`."""
    epochs: int = 1
    checkpoint_every: int = 5
    """Updates between two checkpoints; there is one at every evaluation and at the end, too."""
    validation: Validation | None = None
    """May end the run sooner, and says which adapter is kept; None keeps the last."""
    resume: bool = True
    """Whether to continue from the newest checkpoint in `out`, to the same result as without the interruption."""

    @property
    def schedule(self) -> Schedule:
        """The schedule of samples over updates."""
        return Schedule(self.rows, self.grpo.batch_size)

    @property
    def last(self) -> int:
        """Updates after which the run ends unless validation ends it sooner."""
        return self.updates if self.updates is not None else self.epochs * self.schedule.per_epoch

    def check(self, samples: str) -> None:
        """Raise ValueError for a run without `samples`, and for one whose rollouts cannot be compared."""
        if not len(self.rows):
            raise ValueError(f"there are no {samples} to train on")
        if self.rollouts.group_size < 2:
            raise ValueError("GRPO compares the rollouts of a sample: group_size must be at least 2")


@dataclass(frozen=True)
class Callbacks:
    """Who hears of a run. All of them may raise to stop it; only the main process of several calls the first two."""

    on_update: Callable[[Any], None] | None = None
    """Hears the metrics of an update."""
    on_evaluation: Callable[[int, Any], None] | None = None
    """Hears how many updates there were, and an evaluation on validation samples."""
    on_progress: Callable[[int], None] | None = None
    """Hears how many items are embedded, or samples evaluated, within an update or an evaluation."""
