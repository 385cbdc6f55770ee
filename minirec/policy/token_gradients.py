"""Gradients of a text under a plain text policy, in the space of z (docs/method.md, section 4).

    l_t = cap(W z_t),  p_t = softmax(l_t),  k_t = dl/dx = 1 - (l_t / cap)^2  (1 without a cap)
    gradient of -A log p_t[y_t] with respect to z_t:   W^T (k_t * A (p_t - e_y))
    Hessian-vector product:                            W^T of the derivative of that along dx = W v

A text's gradient is the sum over its tokens, so the vocabulary-sized part is summed first and multiplied with W once.
Works from the logits of the forward pass, a block of tokens at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CPU_BLOCK, CUDA_BLOCK = 2**19, 2**26
"""Probabilities per block: on a CPU few enough to stay in its cache."""
WORDS = 4096
"""Rows of W per block; sums over blocks are kept in float64."""


def token_gradient(
    logits: Tensor, targets: Tensor, weight: Tensor, *, advantages: Tensor | None = None, cap: float | None = None
) -> Tensor:
    """Return the gradient of the sum of -A_t log p_t[y_t], summed over tokens (docs/method.md, section 4).

    Computed in float32, or float64 for float64 logits.

    Args:
        logits: (T, V), as the model gives them: capped.
        targets: (T,), tokens.
        weight: (V, d), W of the output embedding.
        advantages: (T,) A_t; 1 where they are left out.
        cap: Soft cap of the logits, where the model has one.

    Returns:
        (d,).
    """
    pooled = torch.zeros(logits.shape[1], dtype=_wide(logits), device=logits.device)
    own = torch.zeros(weight.shape[1], dtype=_wide(logits), device=logits.device)
    for block in _blocks(logits, targets, advantages, cap):
        pooled += block.weights @ (block.p if block.slope is None else block.p * block.slope)
        own += (block.weights * block.at_targets(block.slope)) @ weight[block.targets].to(own.dtype)
    return _times(pooled, weight) - own


def token_hvp(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor,
    vector: Tensor,
    *,
    advantages: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """Return the second derivative of the same sum, every token's applied to the same vector (d,), summed: (d,).

    Without a cap it is the sum of A_t W^T (diag p_t - p_t p_t^T) W v.

    Args:
        logits: (T, V), as the model gives them: capped.
        targets: (T,), tokens.
        weight: (V, d), W of the output embedding.
        vector: (d,), v.
        advantages: (T,) A_t; 1 where they are left out.
        cap: Soft cap of the logits, where the model has one.
    """
    wide = vector.to(_wide(logits))
    dx = torch.cat([rows.to(wide.dtype) @ wide for rows in weight.split(WORDS)])
    pooled, own = torch.zeros_like(dx), torch.zeros_like(vector, dtype=dx.dtype)
    for block in _blocks(logits, targets, advantages, cap):
        if block.slope is None or block.bend is None:
            mean = block.p @ dx
            both = torch.stack([block.weights, block.weights * mean]) @ block.p
            pooled += both[0] * dx - both[1]
            continue
        dl = block.slope * dx
        dp = block.p * (dl - (block.p * dl).sum(1, keepdim=True))
        turning = block.bend * dl
        pooled += block.weights @ (dp * block.slope + block.p * turning)
        own += (block.weights * block.at_targets(turning)) @ weight[block.targets].to(own.dtype)
    return _times(pooled, weight) - own


@dataclass(frozen=True)
class _Block:
    p: Tensor
    """(t, V) probabilities."""
    slope: Tensor | None
    """(t, V) derivative of the capped logits; None without a cap."""
    bend: Tensor | None
    """(t, V) derivative of the slope by the capped logits."""
    targets: Tensor
    weights: Tensor

    def at_targets(self, values: Tensor | None) -> Tensor:
        return torch.ones_like(self.weights) if values is None else values.gather(1, self.targets[:, None])[:, 0]


def _blocks(logits: Tensor, targets: Tensor, advantages: Tensor | None, cap: float | None) -> Iterator[_Block]:
    dtype = _wide(logits)
    weights = torch.ones(len(logits), device=logits.device) if advantages is None else advantages
    tokens = max(1, (CUDA_BLOCK if logits.is_cuda else CPU_BLOCK) // logits.shape[1])
    for start in range(0, len(logits), tokens):
        part = slice(start, start + tokens)
        p = torch.softmax(logits[part], dim=1, dtype=dtype)
        slope = bend = None
        if cap is not None:
            share = logits[part].to(dtype) / cap
            slope, bend = 1 - share.square(), -2 / cap * share
        yield _Block(p, slope, bend, targets[part], weights[part].to(dtype))


def _times(pooled: Tensor, weight: Tensor) -> Tensor:
    """W^T q (d,), in blocks summed in float64: one float32 sum over a large vocabulary loses two digits."""
    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    for words, rows in zip(pooled.split(WORDS), weight.split(WORDS), strict=True):
        total += (words @ rows.to(words.dtype)).double()
    return total.to(pooled.dtype)


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
