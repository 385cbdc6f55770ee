"""Baseline arms come from the same scores, and say how they compare."""

from __future__ import annotations

import numpy as np
import pytest

from minirec.api_schemas.baselines import BASELINES
from tests.worker.bench import Bench

ARMS = list(BASELINES)


def test_every_baseline_chooses_as_many_samples_and_is_compared(bench: Bench) -> None:
    job = bench.create(baselines=ARMS)
    bench.hear()
    columns = bench.result(job)
    picked = columns["picked_rank"] >= 0
    result = bench.store.jobs.get(job).json("result")
    assert list(result["baselines"]) == ARMS
    for arm in ARMS:
        taken = columns[f"arm:{arm}"] >= 0
        assert sorted(columns[f"arm:{arm}"][taken]) == list(range(10))
        comparison = result["baselines"][arm]
        assert comparison["overlap"] == pytest.approx((taken & picked).sum() / 10)
        assert comparison["reward_mean"] == pytest.approx(columns["rewards"][taken].mean())
    top = columns["arm:top_learnability"] >= 0
    assert columns["learnability"][top].min() >= columns["learnability"][~top].max()
    assert not np.array_equal(columns["arm:random"], columns["arm:kmeans"])
