"""A training run on prompts under way, as TRL's trainer calls it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from transformers import TrainerCallback

from minirec.data.dataset import PromptDataset
from minirec.policy.answers import text_of
from minirec.policy.policy import Policy
from minirec.policy.ranks import Ranks
from minirec.rewards import Scorer
from minirec.selection.gate import HIT_REWARD
from minirec.training.checkpoint import Progress, remove_older, write_progress
from minirec.training.evaluate_text import TextEvaluation, evaluate_text
from minirec.training.grpo import seed_of
from minirec.training.settings import Callbacks, RunSettings
from minirec.training.text_metrics import TextMetrics

ROW = "minirec_row"
"""Column with a prompt's row: everything else that rewards see is looked up by it."""


@dataclass
class TextRun(TrainerCallback):
    """A training run under way, as TRL's trainer calls it."""

    policy: Policy
    dataset: PromptDataset
    scorer: Scorer
    settings: RunSettings
    identity: dict[str, Any]
    """Of the run that a checkpoint belongs to."""
    callbacks: Callbacks
    ranks: Ranks
    progress: Progress = field(default_factory=Progress)
    _started: float = 0.0
    _seconds: float = 0.0
    _rewards: list[float] = field(default_factory=list)
    """Of the answers of this update."""
    _tokens: int = 0
    """That were drawn in this update."""
    _found: TextEvaluation | None = None
    """An evaluation that nobody has heard of yet."""

    def reward(self, completion_ids: list[list[int]], **columns: Any) -> list[float]:
        """Return what TRL's completions earn."""
        # The text that scoring and evaluation read; a tokenizer may have TRL take it apart.
        texts = [text_of(self.policy, tokens) for tokens in completion_ids]
        rows = [self.dataset.prompt(row).row for row in columns[ROW]]
        earned = [self.scorer(text, row) for text, row in zip(texts, rows, strict=True)]
        self._rewards += earned
        self._tokens += sum(map(len, completion_ids))
        return earned

    def evaluate(self) -> None:
        """Evaluate the policy as it is now, and remember what came out."""
        validation = self.settings.validation
        assert validation is not None
        model, training = self.policy.model, self.policy.model.training
        model.eval()
        self._found = evaluate_text(
            self.policy,
            dataset=self.dataset,
            rows=validation.rows,
            scorer=self.scorer,
            rollouts=self.settings.rollouts,
            on_prompts=self.callbacks.on_progress,
            ranks=self.ranks,
        )
        model.train(training)
        validation.record(self.progress, self._found, self.policy)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start an update: what it draws follows from the seed and its number."""
        self._started, self._rewards, self._tokens = time.perf_counter(), [], 0
        set_seed(seed_of(self.settings.rollouts.seed, state.global_step) % 2**32, device_specific=self.ranks.count > 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End an update; evaluate where that is due."""
        self._seconds = time.perf_counter() - self._started
        progress, validation = self.progress, self.settings.validation
        progress.update = state.global_step
        if validation is not None and validation.is_due(progress, self.settings.last):
            self.evaluate()
            control.should_save = True
            control.should_training_stop |= validation.has_enough(progress)
        control.should_save |= progress.update == self.settings.last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Keep an update's numbers; TRL logs once after each, and once more at the end."""
        if "loss" not in logs:
            return
        if not (isfinite(logs["loss"]) and isfinite(logs["grad_norm"])):
            raise ValueError("the loss or its gradient is not finite: lower learning_rate, or use bfloat16")
        settings, number = self.settings, self.progress.update
        batch, group = settings.grpo.batch_size, settings.rollouts.group_size
        rewards = torch.tensor(self.ranks.gather(self._rewards), dtype=torch.float64).view(-1, group)
        tokens = sum(self.ranks.gather([self._tokens]))
        metrics = TextMetrics(
            update=number,
            epoch=(number - 1) * batch // len(settings.rows) + 1,
            samples_seen=number * batch,
            loss=float(logs["loss"]),
            reward_mean=float(rewards.mean()),
            hit_rate=float((rewards >= HIT_REWARD).double().mean()),
            grad_norm=float(logs["grad_norm"]),
            dead_groups=int((rewards.std(1, correction=0) == 0).sum()),
            tokens=tokens,
            seconds=self._seconds,
            tokens_per_second=tokens / self._seconds,
        )
        self.progress.metrics.append(asdict(metrics))
        if not control.should_save:
            self._report_update()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Complete the checkpoint that TRL has written."""
        self.ranks.gather([0])  # Each process writes a file of its own there, and writes it last.
        self.keep(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.report_evaluation()
        self._report_update()

    def keep(self, written: Path) -> None:
        """Write how far the run has come beside what TRL has written, if anything: under its final name it is whole."""
        if not self.ranks.is_main:
            return
        written.mkdir(parents=True, exist_ok=True)
        for file in written.glob("rng_state*.pth"):
            file.unlink()  # What an update draws follows from its number.
        write_progress(written, self.progress, self.identity)
        remove_older(written.rename(self.settings.out / f"checkpoint-{self.progress.update:06d}"))

    def report_evaluation(self) -> None:
        """Report an evaluation that nobody has heard of yet, once its checkpoint is complete."""
        found, self._found = self._found, None
        if found is not None and self.ranks.is_main and self.callbacks.on_evaluation is not None:
            self.callbacks.on_evaluation(self.progress.update, found)

    def _report_update(self) -> None:
        if self.ranks.is_main and self.callbacks.on_update is not None:
            self.callbacks.on_update(TextMetrics(**self.progress.metrics[-1]))
