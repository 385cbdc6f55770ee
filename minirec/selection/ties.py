"""Ties: which of several equal samples goes first, so that a sample's position is never a reason."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from minirec.selection.checks import FloatArray, IndexArray

EQUAL: Final = 1e-12
"""Values whose difference is no larger than this, relative to the largest, are equal: they differ by rounding."""


def tie_order(ids: Sequence[str] | int, seed: int) -> IndexArray:
    """Return each sample's place in a permutation that depends on the seed and the samples' ids alone.

    ids: N ids, or N where the samples have none and go by their row numbers -> (N,) places. Of two samples, the one
    with the smaller hash of seed and id goes first, whatever the order of the file, and whatever else is in the pool.
    """
    names = map(str, range(ids)) if isinstance(ids, int) else ids
    key = str(seed).encode()
    digests = b"".join(blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    order = np.argsort(np.frombuffer(digests, dtype=">u8"), kind="stable")
    places = np.empty(order.size, dtype=np.int64)
    places[order] = np.arange(order.size)
    return places


def merge_equal(values: FloatArray) -> FloatArray:
    """Return the values with those that differ by rounding only made the same, the largest of them.

    (N,) -> (N,). Rewards of 0.2 and 0.8 are equally far from 0.5, and differ by 1e-16 when that is computed.
    """
    descending = np.argsort(-values, kind="stable")
    ordered = values[descending]
    tolerance = EQUAL * float(np.abs(values).max(initial=0.0))
    starts = np.flatnonzero(np.concatenate([[True], ordered[:-1] - ordered[1:] > tolerance]))
    merged = np.empty_like(values)
    merged[descending] = np.repeat(ordered[starts], np.diff(np.append(starts, ordered.size)))
    return merged
