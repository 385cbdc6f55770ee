"""What the proxy is trained on: a small random subset, so that rewards say something (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def draw_proxy_rows(pool: Sequence[int] | npt.NDArray[np.int64], samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return up to `samples` different rows of the pool, in random order: the same for the same pool and seed."""
    rows = np.asarray(pool, dtype=np.int64)
    return np.random.default_rng(seed).permutation(rows)[:samples]
