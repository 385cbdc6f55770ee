"""Rollouts as sequences for the pass with gradients: a prompt once, its rollouts side by side behind it.

Attention keeps the rollouts of a prompt apart, and their positions all continue from the prompt, so each reads what it
would read alone. G rollouts of T tokens cost P + G T tokens this way instead of G (P + T).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

PADDING = -1
"""Owner of the places before a row's prompt."""


@dataclass(frozen=True)
class Branch:
    """One rollout of a sample, and what it counts for."""

    sample: int
    """Which sample of the batch it belongs to."""
    tokens: Sequence[int]
    """Everything after the prompt, `<answer>` included."""
    drawn: Sequence[int]
    """What the policy chose: the first of the tokens, and `ENDED` where it then ended its turn."""
    advantage: float
    best: bool
    """Whether it earned the most in its group."""


@dataclass(frozen=True)
class Tree:
    """A prompt and rollouts of it."""

    prompt: Sequence[int]
    branches: Sequence[Branch]

    def __len__(self) -> int:
        return len(self.prompt) + sum(len(branch.tokens) for branch in self.branches)


@dataclass(frozen=True)
class Place:
    """Where a branch lies in a packed batch. Positions count from the right: -1 is a row's last token."""

    row: int
    prompt_end: int
    """Last token of its prompt."""
    start: int
    """Its own first token."""
    end: int
    """Its last token, which completes `<answer>`."""


@dataclass(frozen=True)
class Packed:
    """Trees as R rows of L tokens, padded on the left."""

    input_ids: Tensor
    position_ids: Tensor
    owner: Tensor
    """(R, L): 0 in a prompt, 1, 2, ... in its branches, `PADDING` before."""
    places: list[Place]
    """One per branch, in the order of the trees."""

    def flat_mask(self) -> Tensor:
        """(R, L), 0 on padding: enough for rows with one branch."""
        return (self.owner != PADDING).long()

    def tree_mask(self, dtype: torch.dtype) -> Tensor:
        """(R, 1, L, L), added to attention scores: a token sees its prompt and its own branch, up to itself."""
        query, key = self.owner[:, :, None], self.owner[:, None, :]
        seen = ((key == query) | (key == 0)).tril()
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def build_trees(
    prompts: Sequence[Sequence[int]], branches: Sequence[Branch], *, share: bool, max_tokens: int
) -> list[Tree]:
    """Put branches (in the order of their samples) behind the prompts of their samples.

    A tree takes as many branches of a sample as `max_tokens` allows, at least one; exactly one unless `share`.
    """
    trees: list[Tree] = []
    for sample, group in groupby(branches, key=lambda branch: branch.sample):
        tree = Tree(prompts[sample], [])
        for branch in group:
            if tree.branches and (not share or len(tree) + len(branch.tokens) > max_tokens):
                trees.append(tree)
                tree = Tree(prompts[sample], [])
            tree = Tree(tree.prompt, [*tree.branches, branch])
        trees.append(tree)
    return trees


def pack(trees: Sequence[Tree], *, pad_id: int, device: torch.device) -> Packed:
    """Lay out trees as rows of one batch."""
    width = max(map(len, trees))
    ids, positions, owner, places = [], [], [], []
    for row, tree in enumerate(trees):
        length = len(tree.prompt)
        padding = width - len(tree)
        ids.append([pad_id] * padding + list(tree.prompt))
        positions.append([0] * padding + list(range(length)))
        owner.append([PADDING] * padding + [0] * length)
        prompt_end = padding + length - 1 - width
        for number, branch in enumerate(tree.branches, start=1):
            start = len(ids[-1]) - width
            places.append(Place(row, prompt_end, start, start + len(branch.tokens) - 1))
            ids[-1] += branch.tokens
            positions[-1] += range(length, length + len(branch.tokens))
            owner[-1] += [number] * len(branch.tokens)
    tables = [torch.tensor(table, device=device) for table in (ids, positions, owner)]
    return Packed(tables[0], tables[1], tables[2], places)
