"""`train`: GRPO over samples in their order, with checkpoints to resume from (docs/method.md, section 7)."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from api_schemas.selections import RolloutSettings
from api_schemas.training import GrpoSettings
from minirec.data.dataset import Dataset, Sample
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.rollouts import sampling_noise
from minirec.training.batches import Schedule
from minirec.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from minirec.training.experience import ndcg_at
from minirec.training.learner import Learned, Learner
from minirec.training.lora import save_adapter, with_lora


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
class TrainResult:
    """A finished run."""

    adapter: Path
    """Folder with `adapter_config.json` and `adapter_model.safetensors`."""
    updates: int
    samples_seen: int
    metrics: list[UpdateMetrics]
    """One per update, those before a resume included."""


def train(
    policy: Policy,
    *,
    dataset: Dataset,
    rows: Sequence[int],
    rollouts: RolloutSettings,
    grpo: GrpoSettings,
    updates: int | None = None,
    epochs: int = 1,
    out: Path,
    checkpoint_every: int = 5,
    on_update: Callable[[UpdateMetrics], None] | None = None,
    on_items: Callable[[int], None] | None = None,
    resume: bool = True,
) -> TrainResult:
    """Train LoRA weights on the samples in `rows`, in that order in every epoch; the policy itself stays as it was.

    Runs for `updates` batches, starting over as often as that takes, or for `epochs` where it is None. The adapter
    ends up in `out`/adapter. A checkpoint is written to `out` every `checkpoint_every` updates and at the end, before
    `on_update` hears of that update; with `resume` the run goes on from the one it finds there, to the same result as
    without the interruption. `on_items` hears how far the catalogue is embedded, anew every `catalogue_refresh`
    updates. Both may raise to stop.

    Raises ValueError for no rows, groups of one rollout, a checkpoint of another run, samples that do not fit into
    the model's context, and when the weights diverge.
    """
    if not len(rows):
        raise ValueError("there are no samples to train on")
    if rollouts.group_size < 2:
        raise ValueError("GRPO compares the rollouts of a sample: group_size must be at least 2")
    schedule = Schedule(rows, grpo.batch_size)
    last = updates if updates is not None else epochs * schedule.per_epoch
    identity = _identity(dataset, rows, rollouts, grpo)
    with with_lora(policy, grpo) as learning:
        run = _Run(Learner(learning, dataset.items, rollouts, grpo), dataset, schedule, on_items)
        checkpoint = latest_checkpoint(out) if resume else None
        if checkpoint is not None:
            run.progress = load_checkpoint(checkpoint, learning, run.learner.optimizer, identity)
        while (done := run.progress.update) < last:
            metrics = run.update()
            if (done + 1) % checkpoint_every == 0 or done + 1 == last:
                save_checkpoint(out, learning, run.learner.optimizer, run.progress, identity)
            if on_update is not None:
                on_update(metrics)
        adapter = _save_whole(learning, out / "adapter")
    metrics_so_far = [UpdateMetrics(**entry) for entry in run.progress.metrics]
    return TrainResult(adapter, done, schedule.samples_seen(done), metrics_so_far)


class _Run:
    """A training run under way: which samples come next, under which catalogue and noise."""

    def __init__(
        self, learner: Learner, dataset: Dataset, schedule: Schedule, on_items: Callable[[int], None] | None
    ) -> None:
        self.learner = learner
        self.dataset = dataset
        self.schedule = schedule
        self.on_items = on_items
        self.progress = Progress(0, None, [])

    def update(self) -> UpdateMetrics:
        """Do the next update."""
        started = time.perf_counter()
        number, device = self.progress.update, self.learner.policy.device
        samples = [self.dataset.sample(int(row)) for row in self.schedule.batch(number)]
        catalogue = self._catalogue()
        catalogue_seconds = time.perf_counter() - started
        noise = np.stack([_noise(sample, number, self.learner.rollouts) for sample in samples])
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # For dropout. Nothing random outlives an update, so a resumed run needs no generator's state.
            torch.manual_seed(_seed(self.learner.grpo.seed, number))
            learned = self.learner.update(samples, catalogue, noise)
        metrics = self._metrics(learned, time.perf_counter() - started, catalogue_seconds)
        self.progress.metrics.append(asdict(metrics))
        self.progress.update += 1
        return metrics

    def _catalogue(self) -> Tensor:
        """Item vectors (M, d), under the policy as it was at the last refresh."""
        progress, policy = self.progress, self.learner.policy
        if progress.catalogue is None or progress.update % self.learner.grpo.catalogue_refresh == 0:
            vectors = embed_items(policy, self.dataset.items, on_batch=self.on_items)
            progress.catalogue = torch.from_numpy(vectors).to(policy.device)
        return progress.catalogue

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
    """Sampling noise (G, T) that depends on the seed, the update and the sample alone."""
    seed = _seed(rollouts.seed, update)
    return sampling_noise(sample.id, seed=seed, rollouts=rollouts.group_size, length=rollouts.max_new_tokens)


def _seed(seed: int, update: int) -> int:
    return int(np.random.SeedSequence([seed, update]).generate_state(1, np.uint64)[0])


def _identity(dataset: Dataset, rows: Sequence[int], rollouts: RolloutSettings, grpo: GrpoSettings) -> dict[str, Any]:
    """What must be the same for a checkpoint to belong to a run; how long it goes on may change."""
    ids = dataset.ids
    order = hashlib.sha256(json.dumps([ids[row] for row in rows]).encode()).hexdigest()
    return {"samples": order, "rollouts": rollouts.model_dump(), "grpo": grpo.model_dump()}


def _save_whole(policy: Policy, folder: Path) -> Path:
    """Write the adapter under its final name only once it is complete."""
    scratch = folder.with_name(f".{folder.name}")
    for stale in (scratch, folder):
        shutil.rmtree(stale, ignore_errors=True)
    save_adapter(policy, scratch)
    return scratch.rename(folder)
