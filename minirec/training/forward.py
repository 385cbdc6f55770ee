"""The pass with gradients: log-probabilities of what was drawn, z at every `<answer>`, and item vectors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minirec.api_schemas.training import GrpoSettings
from minirec.policy.policy import Policy
from minirec.policy.prompts import item_prompt
from minirec.policy.rollouts import Sampling
from minirec.training.experience import Items
from minirec.training.losses import log_probabilities, widened
from minirec.training.packing import Branch, Place, Tree, build_trees, pack

CPU_TOKENS = 1024
"""Tokens per micro-batch on a CPU: more of them at once gain no speed there, and take 2 MB each with a small model."""
MAX_CUDA_TOKENS = 32_768
ROWS_OF_LOGITS = 256
"""Choices whose log-probabilities are computed at once."""


def recomputes_activations(policy: Policy, grpo: GrpoSettings) -> bool:
    """Return whether the backward pass computes activations again: a GPU is short of memory, a CPU of time."""
    if grpo.gradient_checkpointing is None:
        return policy.device.type == "cuda"
    return grpo.gradient_checkpointing


def tokens_that_fit(policy: Policy, grpo: GrpoSettings) -> int:
    """Return how many tokens a micro-batch may have: bounded by memory for activations and logits on a GPU."""
    if grpo.micro_batch_tokens is not None:
        return grpo.micro_batch_tokens
    if policy.device.type != "cuda":
        return CPU_TOKENS
    config, size = policy.config, policy.dtype.itemsize
    # Per token: what each layer keeps for its recomputation and one layer's insides, or the insides of all of them, and
    # logits with their gradient.
    inside = 8 * (2 * policy.hidden_size + getattr(config, "intermediate_size", 4 * policy.hidden_size)) * (size + 4)
    if recomputes_activations(policy, grpo):
        layers = config.num_hidden_layers * policy.hidden_size * size + inside
    else:
        layers = config.num_hidden_layers * inside
    per_token = layers + 2 * config.vocab_size * size
    free, _ = torch.cuda.mem_get_info(policy.device)
    return max(1, min(MAX_CUDA_TOKENS, free // 2 // per_token))


@contextmanager
def with_gradients(policy: Policy, *, recompute: bool) -> Iterator[None]:
    """Dropout on, and activations computed again or kept, for as long as the block lasts."""
    model: Any = policy.model
    if recompute:
        model.activation_checkpointing_enable()
    model.train()
    try:
        yield
    finally:
        model.eval()
        if recompute:
            model.activation_checkpointing_disable()
            # Enabling hangs a hook on the input embedding each time, and disabling leaves it there.
            model.disable_input_require_grads()


def plan_trees(policy: Policy, prompts: Sequence[Sequence[int]], branches: Sequence[Branch], budget: int) -> list[Tree]:
    """Lay rollouts side by side behind their prompts where the model allows it, in trees of up to `budget` tokens.

    Recurrent layers would carry one rollout into the next, a sliding window would count the others' tokens, and a
    model that makes up positions itself would place a rollout behind the one before it.
    """
    longest = max(len(prompts[branch.sample]) + len(branch.tokens) for branch in branches)
    window = policy.sliding_window or max(longest, budget)
    share = policy.attention_only and "position_ids" in _accepted(policy) and longest <= window
    return build_trees(prompts, branches, share=share, max_tokens=min(budget, window))


def run_trees(policy: Policy, trees: Sequence[Tree], sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N,) of all that the branches drew, and z (branches, d) at their `<answer>`; differentiable.

    Both are in the order of the branches.
    """
    packed = pack(trees, pad_id=policy.pad_id, device=policy.device)
    crowded = any(len(tree.branches) > 1 for tree in trees)
    mask = packed.tree_mask(policy.dtype) if crowded else packed.flat_mask()
    keep = -min(place.prompt_end for place in packed.places)
    logits, hidden = _forward(policy, packed.input_ids, packed.position_ids, mask, keep=keep)
    branches = [branch for tree in trees for branch in tree.branches]
    rows, positions = _where_drawn(packed.places, branches)
    drawn = torch.tensor([choice for branch in branches for choice in branch.drawn], device=policy.device)
    end_ids = torch.tensor(sorted(policy.end_ids), dtype=torch.long, device=policy.device)
    parts = zip(logits[rows, positions].split(ROWS_OF_LOGITS), drawn.split(ROWS_OF_LOGITS), strict=True)
    # Computed again in the backward pass: float32 copies of the logits are what would take the memory.
    log_probs = [checkpoint(log_probabilities, *part, end_ids, sampling, use_reentrant=False) for part in parts]
    z = hidden[[place.row for place in packed.places], [place.end for place in packed.places]]
    return torch.cat(log_probs), widened(z)


def _where_drawn(places: Sequence[Place], branches: Sequence[Branch]) -> tuple[list[int], list[int]]:
    """Return the row and position of the logits that each choice was drawn from: at the token before it."""
    rows, positions = [], []
    for place, branch in zip(places, branches, strict=True):
        rows += [place.row] * len(branch.drawn)
        positions += [place.prompt_end, *range(place.start, place.end)][: len(branch.drawn)]
    return rows, positions


def embed_with_gradient(policy: Policy, items: Items, budget: int) -> Tensor:
    """Unit vectors (Y, d) of a few items, as `embed_items` computes them, but differentiable.

    At most `budget` tokens are in memory at once: where there are more, the backward pass computes them again.
    """
    trees = [Tree(item_prompt(policy, item), []) for item in items]
    size = max(1, budget // max(map(len, trees), default=1))
    parts = []
    for start in range(0, len(trees), size):
        packed = pack(trees[start : start + size], pad_id=policy.pad_id, device=policy.device)
        inputs = (policy, packed.input_ids, packed.position_ids, packed.flat_mask())
        parts.append(_units(*inputs) if size >= len(trees) else checkpoint(_units, *inputs, use_reentrant=False))
    return torch.cat(parts) if parts else torch.empty(0, policy.hidden_size, device=policy.device)


def _units(policy: Policy, input_ids: Tensor, position_ids: Tensor, mask: Tensor) -> Tensor:
    """z at the last of the tokens (R, L), at unit length: (R, d)."""
    _, hidden = _forward(policy, input_ids, position_ids, mask, keep=1)
    return nn.functional.normalize(widened(hidden[:, -1]), dim=1)


def _forward(
    policy: Policy, input_ids: Tensor, position_ids: Tensor, mask: Tensor, *, keep: int
) -> tuple[Tensor, Tensor]:
    """Logits (R, >= keep, V) and hidden states (R, >= keep, d), the last one last."""
    hidden: list[Tensor] = []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden.append(inputs[0])

    accepted = _accepted(policy)
    options: dict[str, Any] = {"position_ids": position_ids, "logits_to_keep": keep}
    options = {name: value for name, value in options.items() if name in accepted}
    hook = policy.model.get_output_embeddings().register_forward_pre_hook(remember)
    try:
        output = policy.model(input_ids=input_ids, attention_mask=mask, use_cache=False, **options)
    finally:
        hook.remove()
    return output.logits, hidden[-1]


def _accepted(policy: Policy) -> frozenset[str]:
    """Return what the model's forward takes; a PEFT wrapper's own only says `**kwargs`."""
    return frozenset(inspect.signature(policy.model.get_base_model().forward).parameters)
