"""Gradients with A = 1 for every rollout, to compare with those that scoring weighs by the group's advantages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.quality.runs import Bench, proxy_of
from minirec.policy.catalogue import embed_items
from minirec.policy.gradients import gradient_and_hvp
from minirec.policy.head import Head, Masked, softmax_over_items
from minirec.policy.rollouts import sampling_noise
from minirec.training.experience import play

BATCH = 100


def teacher_vectors(bench: Bench, seed: int) -> npt.NDArray[np.float32]:
    """(N, d) mean over the rollouts of the gradient of -log p[target], from the rollouts that scoring made.

    Costs nothing more where scoring does it; here, where it does not, the rollouts are made again and not counted.
    """
    path = bench.folder / f"seed-{seed}" / "teacher.npz"
    if not path.exists():
        _write(path, np.concatenate(_in_batches(bench, seed)))
    with np.load(path) as found:
        vectors: npt.NDArray[np.float32] = found["vectors"]
    return vectors


def _write(path: Path, vectors: npt.NDArray[np.float32]) -> None:
    scratch = path.with_suffix(".tmp.npz")
    np.savez(scratch, vectors=vectors)
    scratch.rename(path)


@torch.inference_mode()
def _in_batches(bench: Bench, seed: int) -> list[npt.NDArray[np.float32]]:
    proxy, _ = proxy_of(bench, seed)
    policy, items, rollouts = bench.policy(proxy), bench.dataset.items, bench.study.rollouts(seed)
    catalogue = torch.from_numpy(embed_items(policy, items))
    samples = bench.samples(bench.parts.pool)
    group, length = rollouts.group_size, rollouts.max_new_tokens
    made: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(samples), BATCH):
        part: list[Any] = samples[start : start + BATCH]
        noise = [sampling_noise(sample.id, seed=rollouts.seed, rollouts=group, length=length) for sample in part]
        z = play(policy, items, part, np.stack(noise), rollouts).z
        histories = [set(sample.history) - {sample.target} for sample in part for _ in range(group)]
        targets = torch.tensor([sample.target for sample in part for _ in range(group)])
        masked = Masked.of(histories, z.device)
        head = Head(z.flatten(0, 1).double(), catalogue, targets, tau=rollouts.tau, masked=masked)
        gradient, _ = gradient_and_hvp(head, softmax_over_items(head), torch.ones(len(targets)))
        made.append(gradient.view(len(part), group, -1).mean(1).float().numpy())
    return made
