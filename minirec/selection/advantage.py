"""Group-relative advantages, and whether a group of rollouts says anything at all."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import FloatArray, Hits, Rewards, finite_matrix, hit_matrix

SIGNAL_POLICY: Final = 0
"""The rollouts' outcomes differ: their advantages point somewhere."""
SIGNAL_TEACHER: Final = 1
"""They do not: the teacher-forced gradient (A = 1) has to stand in."""


def advantages(rewards: Rewards, hits: Hits, *, floor: float = 1e-3) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """Return each rollout's advantage within its group, and where the signal comes from (docs/method.md, section 4).

    rewards (N, G) and hits (N, G) -> advantages (N, G) and signals (N,) of `SIGNAL_POLICY` or `SIGNAL_TEACHER`.
    A = (r - mean) / max(std, floor), with the group's population standard deviation.

    A group has a signal when some rollouts hit and others miss, or when all hit and their rewards (their ranks) spread
    by at least `floor`. A group that never hits has none, whatever its spread: what is left of its rewards is the
    softmax's noise. Without a signal every advantage is 0, so that such a group has no gradient of its own.

    Raises ValueError for NaN or infinity (naming the row), for shapes that differ and for a floor that is not positive.
    """
    if not floor > 0:
        raise ValueError(f"floor must be above 0, not {floor}")
    values = finite_matrix(rewards, "rewards")
    hit = hit_matrix(hits, values.shape)
    spread = values.std(axis=1)
    mixed = hit.any(axis=1) & ~hit.all(axis=1)
    has_signal = mixed | (hit.all(axis=1) & (spread >= floor))
    relative = (values - values.mean(axis=1, keepdims=True)) / np.maximum(spread, floor)[:, None]
    signals = np.where(has_signal, SIGNAL_POLICY, SIGNAL_TEACHER).astype(np.int8)
    return np.where(has_signal[:, None], relative, 0.0), signals
