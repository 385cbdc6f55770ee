"""The two losses of GRPO with a recommendation head (docs/method.md, section 7).

Both are sums of clipped objectives min(ratio A, clip(ratio) A), with the ratio of probabilities under the policy that
is trained and the one that acted. An advantage belongs to a rollout and weighs every token of that rollout; a group
without a signal has advantages 0 and takes part in neither the sums nor the counts that they are divided by.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minirec.policy.rollouts import Sampling

ENDED = -1
"""Stands for whichever token ended the turn: all of them have the same effect."""


def log_probabilities(logits: Tensor, drawn: Tensor, end_ids: Tensor, sampling: Sampling) -> Tensor:
    """Return the log-probability (N,) of what was drawn, a token or `ENDED`, from logits (N, V).

    It is the probability in the distribution that tokens are really drawn from: after temperature, top-k and top-p.
    Only its score function has mean zero over what can be drawn. With the plain softmax instead, every rollout would
    also push down all tokens that could not have been drawn, by an amount that no group mean takes out.
    """
    scaled = widened(logits) / sampling.temperature
    kept = torch.topk(scaled, min(sampling.top_k or scaled.shape[1], scaled.shape[1]), dim=1).values
    probability = kept.detach().softmax(1)
    kept = kept.masked_fill(probability.cumsum(1) - probability >= sampling.top_p, -torch.inf)
    of_token = scaled.gather(1, drawn.clamp(min=0)[:, None])[:, 0]
    of_end = scaled[:, end_ids].logsumexp(1)
    return torch.where(drawn == ENDED, of_end, of_token) - kept.logsumexp(1)


def clipped_objective(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """Return min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A), entry by entry; to be maximised.

    Args:
        log_probs: Log-probabilities under the policy that is trained.
        old_log_probs: The same under the policy that made the rollouts, in the same shape.
        advantages: A, in the same shape or one that broadcasts to it.
        clip_low: How far below 1 the ratio counts.
        clip_high: How far above 1 the ratio counts.
    """
    ratio = torch.exp(log_probs - old_log_probs)
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def item_log_probabilities(u: Tensor, items: Tensor, chosen: Tensor, masked: Tensor, *, tau: float) -> Tensor:
    """Return the log-probability (S,) of each target in the softmax over it and its negatives.

    It is the softmax of docs/method.md, section 7.

    Args:
        u: (S, d) unit rows of the samples.
        items: (Y, d) unit rows of the items, each item once.
        chosen: (S,) the row of each sample's target in `items`.
        masked: (S, Y) true for items that the target is not compared with.
        tau: Temperature of the softmax.
    """
    scores = (u @ items.T / tau).masked_fill(masked, -torch.inf)
    return scores.log_softmax(1).gather(1, chosen[:, None])[:, 0]


def widened(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or wider where it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
