"""Validation while training: which adapter is best, and when to stop (docs/method.md, section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minirec.api_schemas.training_jobs import EarlyStopping
from minirec.policy.policy import Policy
from minirec.training.checkpoint import Best, Progress
from minirec.training.evaluate import Evaluation
from minirec.training.evaluate_text import TextEvaluation
from minirec.training.lora import adapter_tensors


@dataclass(frozen=True)
class Validation:
    """Held-out samples that a run is judged by, and what follows from that."""

    rows: Sequence[int]
    every: int
    """Updates between two evaluations."""
    stopping: EarlyStopping | None = None
    """None trains to the end."""

    def is_due(self, progress: Progress, last: int) -> bool:
        """Return whether the policy as it is now is to be evaluated: at the start, every so often, and at the end."""
        due = progress.update % self.every == 0 or progress.update == last
        return due and not (progress.evaluations and progress.evaluations[-1]["update"] == progress.update)

    def record(self, progress: Progress, evaluation: Evaluation | TextEvaluation, policy: Policy) -> None:
        """Add an evaluation to the history, and keep the adapter if it is the best so far."""
        progress.evaluations.append({"update": progress.update, **evaluation.summary().model_dump()})
        score, best = evaluation.score, progress.best
        least = self.stopping.min_delta if self.stopping is not None else 0.0
        if best is None or score > best.score + least:
            # Copied: on a CPU these are the very weights that the next update moves.
            weights = {name: tensor.clone() for name, tensor in adapter_tensors(policy).items()}
            progress.best = Best(progress.update, score, weights)

    def has_enough(self, progress: Progress) -> bool:
        """Return whether the last evaluations brought nothing better."""
        if self.stopping is None or progress.best is None:
            return False
        since = sum(entry["update"] > progress.best.update for entry in progress.evaluations)
        return since >= self.stopping.patience
