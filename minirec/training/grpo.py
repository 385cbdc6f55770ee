"""`train`: GRPO over samples in their order, with checkpoints to resume from (docs/method.md, section 7)."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Dataset, Sample, SampleTable
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.policy.rollouts import sampling_noise
from minirec.specs.naming import identity as identity_of_settings
from minirec.training.batches import Schedule
from minirec.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from minirec.training.evaluate import Evaluation, evaluate
from minirec.training.experience import ndcg_at
from minirec.training.learner import Learned, Learner
from minirec.training.lora import save_adapter, set_adapter_tensors, with_lora
from minirec.training.settings import Callbacks, RunSettings
from minirec.training.validation import Validation

M = TypeVar("M")


@dataclass(frozen=True)
class UpdateMetrics:
    """What one update did."""

    update: int
    """1-based."""
    epoch: int
    """1-based."""
    samples_seen: int
    """Since the start, this update included."""
    loss: float
    token_loss: float
    item_loss: float
    reward_mean: float
    """Over all rollouts of the batch, before the step."""
    hit_rate: float
    """Share of the rollouts with NDCG@K above 0."""
    ndcg10: float
    grad_norm: float
    """Before clipping; 0 where no step was taken."""
    dead_groups: int
    """Samples whose rollouts gave no signal."""
    tokens: int
    """Tokens that the policy drew."""
    seconds: float
    """Of the whole update."""
    tokens_per_second: float
    generation_share: float
    """Part of `seconds` in which rollouts were made and ranked."""
    catalogue_seconds: float
    """Of `seconds`, those in which the catalogue was embedded again."""


@dataclass(frozen=True)
class TrainResult(Generic[M]):
    """A finished run, with metrics of type M for each update."""

    adapter: Path
    """Folder with `adapter_config.json` and `adapter_model.safetensors`."""
    updates: int
    samples_seen: int
    metrics: list[M]
    """One per update, those before a resume included."""
    evaluations: list[dict[str, Any]]
    """`Ranking` and `update` of every evaluation on validation samples."""
    best_update: int
    """Updates behind the adapter that was kept: the best on validation samples, the last where there are none."""
    stopped_early: bool


def train(
    policy: Policy,
    dataset: Dataset,
    settings: RunSettings,
    callbacks: Callbacks | None = None,
    *,
    ranks: Ranks = SINGLE_PROCESS,
) -> TrainResult[UpdateMetrics]:
    """Train LoRA weights on samples in their order, the same in every epoch; the policy itself stays as it was.

    The adapter ends up in `settings.out`/adapter. A checkpoint is complete before `callbacks` hear of the update or
    the evaluation that it is of. `on_progress` hears how far the catalogue is embedded (anew every `catalogue_refresh`
    updates and at every evaluation) or validated on.

    Args:
        policy: The model to train an adapter for.
        dataset: Samples and catalogue.
        settings: What to train on and how.
        callbacks: Who hears of it; they may raise to stop.
        ranks: This process among several that call this with the same arguments and share every update and evaluation.
            Only the main one writes and reports. The adapter is that of one process, up to rounding; with
            `lora_dropout` other inputs are dropped.

    Raises:
        ValueError: For no rows, groups of one rollout, a checkpoint of another run, samples that do not fit into the
            model's context, and when the weights diverge.
    """
    settings.check("samples")
    callbacks = callbacks or Callbacks()
    schedule, last, validation, out = settings.schedule, settings.last, settings.validation, settings.out
    identity = identity_of("samples", dataset, settings)
    with with_lora(policy, settings.grpo) as learning:
        learner = Learner(learning, dataset.items, settings.rollouts, settings.grpo, ranks)
        run = _Run(learner, dataset, schedule, last, callbacks.on_progress)
        checkpoint = latest_checkpoint(out) if settings.resume else None
        if checkpoint is not None:
            run.progress = load_checkpoint(checkpoint, learning, learner.optimizer, identity)
        progress = run.progress
        while True:
            if validation is not None and validation.is_due(progress, last):
                evaluation = run.evaluate(validation)
                run.save(out, identity)
                if callbacks.on_evaluation is not None and ranks.is_main:
                    callbacks.on_evaluation(progress.update, evaluation)
            stopped_early = validation is not None and validation.has_enough(progress) and progress.update < last
            if stopped_early or progress.update >= last:
                break
            metrics = run.update()
            if progress.update % settings.checkpoint_every == 0 or progress.update == last:
                run.save(out, identity)
            if callbacks.on_update is not None and ranks.is_main:
                callbacks.on_update(metrics)
        best = progress.best
        if best is not None:
            set_adapter_tensors(learning, best.weights)
        adapter = out / "adapter"
        if ranks.is_main:
            save_whole(learning, adapter)
    return TrainResult(
        adapter=adapter,
        updates=progress.update,
        samples_seen=schedule.samples_seen(progress.update),
        metrics=[UpdateMetrics(**entry) for entry in progress.metrics],
        evaluations=progress.evaluations,
        best_update=progress.update if best is None else best.update,
        stopped_early=stopped_early,
    )


class _Run:
    """A training run under way: which samples come next, under which catalogue and noise."""

    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        schedule: Schedule,
        last: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.learner = learner
        self.dataset = dataset
        self.schedule = schedule
        self.last = last
        self.on_progress = on_progress
        self.progress = Progress()

    def update(self) -> UpdateMetrics:
        """Do the next update."""
        started = time.perf_counter()
        number, device = self.progress.update, self.learner.policy.device
        self._refresh()
        catalogue = self.progress.catalogue
        assert catalogue is not None  # The first update is one of those that refresh it.
        catalogue_seconds = time.perf_counter() - started
        samples = [self.dataset.sample(int(row)) for row in self.schedule.batch(number)]
        noise = np.stack([_noise(sample, number, self.learner.rollouts) for sample in samples])
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # For dropout. Nothing random outlives an update, so a resumed run needs no generator's state.
            torch.manual_seed(seed_of(self.learner.grpo.seed, number, self.learner.ranks.index))
            self.learner.set_learning_rate(self._share_of_rate())
            learned = self.learner.update(samples, catalogue, noise, self._negatives(number))
        metrics = self._metrics(learned, time.perf_counter() - started, catalogue_seconds)
        self.progress.metrics.append(asdict(metrics))
        self.progress.update += 1
        return metrics

    def _share_of_rate(self) -> float:
        """Return the part of the learning rate that the next update steps with."""
        linear = self.learner.grpo.learning_rate_schedule == "linear"
        return 1 - self.progress.update / self.last if linear else 1.0

    def _negatives(self, number: int) -> list[int] | None:
        """Return the items that an update compares targets with, the same for all ranks; None for the batch's own."""
        grpo, items = self.learner.grpo, len(self.learner.items)
        if grpo.item_negatives is None:
            return None
        drawn = np.random.default_rng(seed_of(grpo.seed, number)).choice(
            items, min(grpo.item_negatives, items), replace=False
        )
        return [int(row) for row in drawn]

    def save(self, out: Path, identity: Mapping[str, Any]) -> None:
        if self.learner.ranks.is_main:
            save_checkpoint(out, self.learner.policy, self.learner.optimizer, self.progress, identity)

    def evaluate(self, validation: Validation) -> Evaluation:
        """Evaluate the policy as it is now, and remember what came out."""
        policy, progress = self.learner.policy, self.progress
        self._refresh()
        evaluation = evaluate(
            policy,
            dataset=self.dataset,
            rows=validation.rows,
            rollouts=self.learner.rollouts,
            on_items=self.on_progress,
            on_samples=self.on_progress,
            catalogue=progress.catalogue if progress.refreshed == progress.update else None,
            ranks=self.learner.ranks,
        )
        validation.record(progress, evaluation, policy)
        return evaluation

    def _refresh(self) -> None:
        """Embed the items anew, once at every update at which that is due."""
        progress, policy = self.progress, self.learner.policy
        if progress.update % self.learner.grpo.catalogue_refresh == 0 and progress.refreshed != progress.update:
            vectors = embed_items(policy, self.dataset.items, on_batch=self.on_progress, ranks=self.learner.ranks)
            progress.catalogue, progress.refreshed = torch.from_numpy(vectors).to(policy.device), progress.update

    def _metrics(self, learned: Learned, seconds: float, catalogue_seconds: float) -> UpdateMetrics:
        grpo, number, outcomes = self.learner.grpo, self.progress.update, learned.outcomes
        return UpdateMetrics(
            update=number + 1,
            epoch=self.schedule.epoch(number) + 1,
            samples_seen=self.schedule.samples_seen(number + 1),
            loss=grpo.token_loss_weight * learned.token_loss + grpo.item_loss_weight * learned.item_loss,
            token_loss=learned.token_loss,
            item_loss=learned.item_loss,
            reward_mean=float(outcomes.reward.mean()),
            hit_rate=float((outcomes.ndcg > 0).double().mean()),
            ndcg10=float(ndcg_at(outcomes.rank, 10).mean()),
            grad_norm=learned.grad_norm,
            dead_groups=learned.dead_groups,
            tokens=learned.tokens,
            seconds=seconds,
            tokens_per_second=learned.tokens / seconds,
            generation_share=learned.generation_seconds / seconds,
            catalogue_seconds=catalogue_seconds,
        )


def _noise(sample: Sample, update: int, rollouts: RolloutSettings) -> npt.NDArray[np.float64]:
    """Return sampling noise (G, T) that depends on the seed, the update and the sample alone."""
    seed = seed_of(rollouts.seed, update)
    return sampling_noise(sample.id, seed=seed, rollouts=rollouts.group_size, length=rollouts.max_new_tokens)


def seed_of(*parts: int) -> int:
    """Return one seed from several numbers.

    Zeros at the end change nothing: the first process draws as the only one would.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def identity_of(kind: str, dataset: SampleTable, settings: RunSettings) -> dict[str, Any]:
    """Return what must be the same for a checkpoint to belong to a run; its length may change.

    `kind` is what the rows are called where they differ.
    """
    found: dict[str, Any] = {
        kind: _digest(dataset, settings.rows),
        "rollouts": settings.rollouts.model_dump(),
        "grpo": identity_of_settings(settings.grpo, defaults=True),
    }
    if settings.grpo.learning_rate_schedule != "constant":
        # Where a rate falls to zero depends on the length of the run, so another length is another run.
        found["updates"] = settings.last
    if (validation := settings.validation) is not None:
        found["validation"] = {kind: _digest(dataset, validation.rows), "every": validation.every}
    return found


def _digest(dataset: SampleTable, rows: Sequence[int]) -> str:
    ids = dataset.ids
    return hashlib.sha256(json.dumps([ids[row] for row in rows]).encode()).hexdigest()


def save_whole(policy: Policy, folder: Path) -> None:
    """Write the adapter under its final name only once it is complete."""
    scratch = folder.with_name(f".{folder.name}")
    for stale in (scratch, folder):
        shutil.rmtree(stale, ignore_errors=True)
    save_adapter(policy, scratch)
    scratch.rename(folder)
