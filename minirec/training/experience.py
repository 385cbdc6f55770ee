"""What a policy does on a batch of samples, and what it earns (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.policy.batching import in_batches, shared_opening
from minirec.policy.errors import InvalidSampleError
from minirec.policy.head import Head, Masked, softmax_over_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompts
from minirec.policy.rewards import Outcomes, outcomes
from minirec.policy.rollouts import Sampling, roll_out

Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Episodes:
    """Rollouts of B samples, R each."""

    prompts: list[list[int]]
    tokens: list[list[list[int]]]
    """Per sample and rollout everything after the prompt, `<answer>` included."""
    sampled: npt.NDArray[np.int32]
    """(B, R) how many of the tokens the policy drew; the rest is an `<answer>` appended for it."""
    z: Tensor
    """(B, R, d) float32."""


@torch.inference_mode()
def collect_rollouts(
    policy: Policy, items: Items, samples: Sequence[Sample], noise: npt.NDArray[np.float64], settings: RolloutSettings
) -> Episodes:
    """Roll out samples, as many at once as memory takes.

    Args:
        policy: The model that samples.
        items: The catalogue that the samples refer to.
        samples: The B samples to roll out.
        noise: (B, R, T) uniform numbers that the tokens are drawn with; 0 is a greedy rollout.
        settings: Limits and sampling of the rollouts.

    Raises:
        ValueError: A sample does not fit into the model's context, or leads to hidden states that are not finite.
    """
    count, repeats, length = noise.shape
    room = length + len(policy.answer_ids)
    prompts = user_prompts(policy, items, samples, window=settings.window, room=room)
    longest = max(map(len, prompts), default=0) + room
    opening = shared_opening(policy, prompts, longest=longest)
    sampled = np.zeros((count, repeats), dtype=np.int32)
    episodes = Episodes(
        prompts, [[] for _ in samples], sampled, torch.empty(count, repeats, policy.hidden_size, device=policy.device)
    )

    def run(batch: Sequence[int]) -> None:
        rows = list(batch)
        rolled = roll_out(policy, [prompts[row] for row in rows], noise[rows], Sampling.of(settings), opening)
        episodes.z[rows], sampled[rows] = rolled.z, rolled.sampled
        for row, tokens in zip(rows, rolled.tokens, strict=True):
            episodes.tokens[row] = tokens

    by_length = sorted(range(count), key=lambda row: len(prompts[row]))
    in_batches(by_length, max(1, policy.rows_that_fit(longest, repeats=repeats) // repeats), run)
    broken = [sample.id for sample, z in zip(samples, episodes.z, strict=True) if not z.isfinite().all()]
    if broken:
        raise InvalidSampleError(
            f"the policy's hidden states are no longer finite for sample {broken[0]!r}: lower learning_rate"
        )
    return episodes


@torch.inference_mode()
def compute_outcomes(z: Tensor, catalogue: Tensor, samples: Sequence[Sample], settings: RolloutSettings) -> Outcomes:
    """Return outcomes, each (B, R), of rollouts z (B, R, d) against unit vectors (M, d) of the catalogue.

    History is out of the softmax, the target never (docs/method.md, sections 1 and 2).
    """
    count, repeats, _ = z.shape
    histories = [set(sample.history) - {sample.target} for sample in samples for _ in range(repeats)]
    targets = torch.tensor([sample.target for sample in samples], dtype=torch.int64, device=z.device)
    targets = targets.repeat_interleave(repeats)
    # In float64, since dividing by tau magnifies rounding.
    head = Head(z.flatten(0, 1).double(), catalogue, targets, tau=settings.tau, masked=Masked.of(histories, z.device))
    flat = outcomes(
        head,
        softmax_over_items(head),
        ndcg_k=settings.ndcg_cutoff(head.n_items),
        softmax_weight=settings.softmax_weight,
    )
    return Outcomes(*(getattr(flat, field.name).view(count, repeats) for field in fields(flat)))


def ndcg_at(rank: Tensor, k: int) -> Tensor:
    """Return the NDCG@k of one relevant item at a 1-based rank: 1 / log2(rank + 1), or 0 beyond k."""
    return torch.where(rank <= k, 1.0 / torch.log2(rank.double() + 1), 0.0)
