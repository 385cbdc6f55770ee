"""Batches of prompts: a shared opening computed once, padding on the left, halving when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from minirec.policy.cache import layer_states
from minirec.policy.policy import Policy, Step


@dataclass(frozen=True)
class Opening:
    """The tokens that all prompts begin with, and the keys and values they leave in every layer."""

    tokens: list[int]
    states: list[tuple[Tensor, Tensor]]
    """Per layer keys and values (1, heads, L, head size)."""


@dataclass(frozen=True)
class Prefilled:
    """A batch of prompts that the model has read."""

    cache: Cache
    attention_mask: Tensor
    """(B, L) over everything in the cache."""
    lengths: Tensor
    """(B,) tokens per prompt, padding not counted: the position of the next token."""
    last: Step
    processed: int
    """Tokens that went through the model, padding included."""


def may_pad_inside(policy: Policy, longest: int) -> bool:
    """Return whether padding may lie between the tokens of rows up to `longest` wide.

    Not where a layer carries a state along, nor where a sliding window shorter than the row would count it as text.
    """
    window = policy.sliding_window
    return policy.attention_only and (window is None or window > longest)


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return rows of token ids as one tensor (R, L), shorter ones padded on the left, and the mask that says so."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@torch.inference_mode()
def shared_opening(policy: Policy, prompts: Sequence[Sequence[int]], *, longest: int) -> Opening | None:
    """Compute what all prompts begin with, once; None where there is nothing to gain or the layers do not allow it.

    `longest` is the length that the longest sequence may reach: padding then lies between the opening and the rest
    of a prompt.
    """
    if len(prompts) < 2:
        return None
    length = len(os.path.commonprefix([list(prompt) for prompt in prompts]))
    length = min(length, min(map(len, prompts)) - 1)
    if length < 1 or not may_pad_inside(policy, longest):
        return None
    tokens = list(prompts[0][:length])
    cache = policy.new_cache()
    ids = torch.tensor([tokens], device=policy.device)
    policy.step(ids, torch.ones_like(ids), torch.arange(length, device=policy.device)[None], cache)
    return Opening(tokens, layer_states(cache))


@torch.inference_mode()
def prefill(policy: Policy, prompts: Sequence[Sequence[int]], opening: Opening | None) -> Prefilled:
    """Read a batch of prompts, padded on the left after their shared opening."""
    skipped = len(opening.tokens) if opening is not None else 0
    ids, mask = pad_left([prompt[skipped:] for prompt in prompts], policy.pad_id)
    mask = torch.nn.functional.pad(mask, (skipped, 0), value=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, skipped:]
    cache = policy.new_cache()
    if opening is not None:
        for index, (keys, values) in enumerate(opening.states):
            cache.update(keys.expand(len(prompts), -1, -1, -1), values.expand(len(prompts), -1, -1, -1), index)
    device = policy.device
    mask = mask.to(device)
    last = policy.step(ids.to(device), mask, positions.to(device), cache)
    return Prefilled(cache, mask, mask.sum(1), last, processed=ids.numel())


def in_batches(order: Sequence[int], size: int, run: Callable[[Sequence[int]], None]) -> None:
    """Call `run` on consecutive parts of `order`; a part too large for the GPU's memory is halved and retried."""
    start = 0
    while start < len(order):
        batch = order[start : start + size]
        if _fits(run, batch):
            start += len(batch)
        else:
            # Outside the except clause, whose traceback would keep the failed batch's tensors alive.
            torch.cuda.empty_cache()
            size = max(1, len(batch) // 2)


def _fits(run: Callable[[Sequence[int]], None], batch: Sequence[int]) -> bool:
    try:
        run(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        return False
    return True
