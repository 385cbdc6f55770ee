"""The proxy: a short GRPO run on a small random subset, so that rewards say something (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from api_schemas.selections import RolloutSettings
from api_schemas.training import ProxySettings
from minirec.data.dataset import Dataset
from minirec.policy.policy import Policy
from minirec.training.grpo import TrainResult, UpdateMetrics, train


def draw_proxy_rows(pool: Sequence[int] | npt.NDArray[np.int64], samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Up to `samples` different rows of the pool, in random order: the same for the same pool and seed."""
    rows = np.asarray(pool, dtype=np.int64)
    return np.random.default_rng(seed).permutation(rows)[:samples]


def train_proxy(
    policy: Policy,
    *,
    dataset: Dataset,
    pool: Sequence[int] | npt.NDArray[np.int64],
    rollouts: RolloutSettings,
    proxy: ProxySettings,
    out: Path,
    on_update: Callable[[UpdateMetrics], None] | None = None,
    on_items: Callable[[int], None] | None = None,
) -> TrainResult[UpdateMetrics]:
    """Train the proxy's adapter in `out`/adapter, going on from a checkpoint that is already there; see `train`."""
    rows = draw_proxy_rows(pool, proxy.samples, proxy.grpo.seed)
    return train(
        policy,
        dataset=dataset,
        rows=rows.tolist(),
        rollouts=rollouts,
        grpo=proxy.grpo,
        updates=proxy.updates,
        out=out,
        on_update=on_update,
        on_items=on_items,
    )
