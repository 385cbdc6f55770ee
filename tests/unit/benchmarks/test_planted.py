"""The whole chain on a set where it is known what every sample is worth: proxy, scoring, selection, training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.quality.arms import ARMS, Case
from benchmarks.quality.planted import kinds_of, prepare_planted
from benchmarks.quality.runs import Bench, train_on
from benchmarks.quality.study import Study

STUDY = Study(
    pool=240,
    size=24,
    valid=16,
    test=120,
    updates=24,
    every=24,
    hidden=32,
    pretraining_steps=40,
    proxy_updates=30,
    ndcg_share=0.2,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return prepare_planted(tmp_path_factory.mktemp("planted"), STUDY)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_selection_takes_what_can_be_learnt_and_beats_random(bench: Bench, seed: int) -> None:
    case = Case(bench, seed)
    before = train_on(bench, case.pool[:8].tolist(), seed, updates=0)["curve"]["0"]["test"]["ndcg"]
    gains, learnable = {}, {}
    for arm in ("random", "MiniRec"):
        rows = case.pool[ARMS[arm](case)]
        learnable[arm] = Counter(kinds_of(bench, rows))["learnable"] / len(rows)
        done = train_on(bench, rows.tolist(), seed)
        gains[arm] = done["curve"][str(STUDY.updates)]["test"]["ndcg"] - before
    assert learnable["random"] <= 0.35
    assert learnable["MiniRec"] >= 0.6
    assert gains["MiniRec"] >= gains["random"] + 0.03


def test_few_dead_samples_are_picked(bench: Bench) -> None:
    case = Case(bench, 0)
    kinds = np.array(kinds_of(bench, case.pool))
    picked = kinds[ARMS["MiniRec"](case)]
    assert (picked == "dead").mean() < 0.5 * (kinds == "dead").mean()
