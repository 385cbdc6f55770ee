"""Curriculum: the training order, in shuffled groups that each go from easy to hard."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import IndexArray, finite_vector

Remainder = Literal["spread", "last"]


def curriculum(
    mean_rewards: npt.ArrayLike,
    indices: npt.ArrayLike,
    *,
    groups: int,
    seed: int = 42,
    remainder: Remainder = "spread",
) -> IndexArray:
    """Return the selected samples in training order (docs/method.md, section 6).

    The indices in pool order are shuffled with `random.Random(seed)` and cut into groups, each sorted by mean reward
    from high (easy) to low (hard). Equal rewards keep their shuffled order.

    Args:
        mean_rewards: (N,) of the whole pool.
        indices: (k,) the selected samples, as positions in the pool.
        groups: Number of groups, 1 to k.
        seed: Of the shuffle.
        remainder: Where the samples go that do not fill a group: see `group_sizes`.

    Returns:
        (k,) the same indices in training order.

    Raises:
        ValueError: NaN or infinity, indices that repeat or lie outside the pool, or not 1 <= groups <= k.
    """
    means = finite_vector(mean_rewards, "mean rewards")
    chosen = np.asarray(indices)
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"indices must be integers of shape (k,), not {chosen.dtype} of shape {chosen.shape}")
    shuffled: list[int] = sorted(chosen.tolist())
    if shuffled and not 0 <= shuffled[0] <= shuffled[-1] < means.size:
        raise ValueError(f"indices must lie between 0 and {means.size - 1}, not {shuffled[0]} to {shuffled[-1]}")
    repeated = next((a for a, b in zip(shuffled, shuffled[1:], strict=False) if a == b), None)
    if repeated is not None:
        raise ValueError(f"index {repeated} appears more than once among the selected")
    random.Random(seed).shuffle(shuffled)
    bounds = np.cumsum(group_sizes(len(shuffled), groups, remainder))[:-1]
    parts = np.split(np.asarray(shuffled, dtype=np.int64), bounds)
    return np.concatenate([part[np.argsort(-means[part], kind="stable")] for part in parts])


def group_sizes(k: int, groups: int, remainder: Remainder = "spread") -> IndexArray:
    """Return the sizes of the groups that k samples are cut into, shape (groups,).

    "spread": sizes differ by at most one, the larger groups first; "last": the last group takes the whole remainder,
    as in the published code.
    """
    if not 1 <= groups <= k:
        raise ValueError(f"cannot cut {k} samples into {groups} groups: groups must lie between 1 and {k}")
    sizes = np.full(groups, k // groups, dtype=np.int64)
    if remainder == "last":
        sizes[-1] += k % groups
    else:
        sizes[: k % groups] += 1
    return sizes
