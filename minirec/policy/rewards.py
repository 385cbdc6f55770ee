"""What a rollout earned: rank, NDCG and probability of the target in the catalogue (docs/method.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minirec.policy.head import Head, Softmax, count_above


@dataclass(frozen=True)
class Outcomes:
    """Rewards of R rollouts, each (R,) float64 except rank (int64)."""

    reward: Tensor
    ndcg: Tensor
    rank: Tensor
    """1-based: one more than the number of items that score strictly higher. Items that read the same are tied."""
    target_probability: Tensor


def outcomes(
    head: Head, softmax: Softmax, *, ndcg_k: int, softmax_weight: float, target_masked: Tensor | None = None
) -> Outcomes:
    """Return (1 - w) NDCG@K + w p[target] for each row of the head, and its parts (docs/method.md, section 2).

    Args:
        head: R rows.
        softmax: Theirs.
        ndcg_k: K; cut to the catalogue's size.
        softmax_weight: w.
        target_masked: (R,) marks rows whose target is itself out of the softmax, as the published computation has it
            where the target is in the history: rank M and p = 0.
    """
    rank = count_above(head) + 1
    probability = torch.exp(head.target_scores.double() - softmax.log_total)[:, 0]
    if target_masked is not None:
        rank = torch.where(target_masked, head.n_items, rank)
        probability = torch.where(target_masked, 0.0, probability)
    ndcg = torch.where(rank <= min(ndcg_k, head.n_items), 1.0 / torch.log2(rank.double() + 1), 0.0)
    return Outcomes((1 - softmax_weight) * ndcg + softmax_weight * probability, ndcg, rank, probability)
