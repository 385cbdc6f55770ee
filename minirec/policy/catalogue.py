"""Item vectors: what the recommendation head compares a user with (docs/method.md, section 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minirec.data.prompts import item_text
from minirec.policy.batching import in_batches, prefill, shared_opening
from minirec.policy.errors import InvalidSampleError
from minirec.policy.policy import Policy
from minirec.policy.prompts import item_prompts
from minirec.policy.ranks import SINGLE_PROCESS, Ranks

CPU_BATCH = 32
"""Prompts that go through the model at once on a CPU."""


def first_with_same_prompt(items: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64]:
    """Return for each of M items the row of the first that reads the same, `(M,)`; its own where none before does.

    Whoever embeds a catalogue in parts embeds that one only: in another batch the same prompt comes out a little
    different, and items that read the same have to tie exactly.
    """
    seen: dict[bytes, int] = {}
    first = [seen.setdefault(sha256(item_text(item).encode()).digest(), row) for row, item in enumerate(items)]
    return np.array(first, dtype=np.int64)


@torch.inference_mode()
def embed_items(
    policy: Policy,
    items: Sequence[Mapping[str, Any]],
    *,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> npt.NDArray[np.float32]:
    """Return unit vectors (M, d) of the items, from z at `<answer>` in their prompts (docs/method.md, section 1).

    Items that read the same get the same vector, exactly.

    Args:
        policy: The policy.
        items: The catalogue, or a part of it.
        batch_size: Prompts that go through the model at once; None: 32 on a CPU, on a GPU what memory takes.
        on_batch: Gets how many items are done after every batch, and may raise to stop.
        ranks: Of several processes each embeds a part and gets the whole.

    Raises:
        InvalidSampleError: An item does not fit into the model's context.
    """
    readers: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(item_prompts(policy, items)):
        readers.setdefault(tuple(prompt), []).append(row)
    prompts = list(readers)
    longest = max(map(len, prompts), default=0)
    if policy.max_positions is not None and longest > policy.max_positions:
        item = items[next(rows[0] for prompt, rows in readers.items() if len(prompt) == longest)]
        raise InvalidSampleError(
            f"item {item['item_id']!r} needs {longest} tokens, the model has {policy.max_positions}"
        )
    vectors = np.zeros((len(items), policy.hidden_size), dtype=np.float32)
    if not prompts:
        return vectors
    opening = shared_opening(policy, prompts, longest=longest)
    done = 0

    def embed(batch: Sequence[int]) -> None:
        nonlocal done
        z = prefill(policy, [prompts[index] for index in batch], opening).last.z.float()
        units = torch.nn.functional.normalize(z, dim=1).cpu().numpy()
        for index, unit in zip(batch, units, strict=True):
            rows = readers[prompts[index]]
            vectors[rows] = unit
            done += len(rows)
        if on_batch is not None:
            on_batch(done)

    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    size = batch_size or (policy.rows_that_fit(longest) if policy.device.type == "cuda" else CPU_BATCH)
    in_batches(by_length[ranks.index :: ranks.count], size, embed)
    # What others embedded is zero here, so that the sum is the whole.
    return ranks.total(torch.from_numpy(vectors).to(policy.device)).cpu().numpy() if ranks.count > 1 else vectors
