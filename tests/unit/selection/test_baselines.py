"""The arms that a selection is compared with."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from benchmarks.quality.arms import BASELINE_NAMES, KNOWN
from minirec.api_schemas.baselines import BASELINES, Baseline
from minirec.selection import BaselineError, baseline, baselines, learnability
from minirec.selection.baselines import CHOICES


@pytest.fixture
def signals() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "rewards": draw.random((40, 4)),
        "vectors": draw.standard_normal((40, 5)),
        "embeddings": draw.standard_normal((40, 6)),
        "target_probabilities": draw.random((40, 4)),
    }


@pytest.mark.parametrize("arm", CHOICES)
@pytest.mark.parametrize("k", [1, 13, 40])
def test_every_arm_chooses_k_samples_and_the_same_ones_again(arm: str, k: int, signals: dict[str, Any]) -> None:
    chosen = baseline(arm, k, **signals, seed=3)
    assert chosen.size == np.unique(chosen).size == k
    assert chosen.tolist() == baseline(arm, k, **signals, seed=3).tolist()


def test_random_depends_on_the_seed(signals: dict[str, Any]) -> None:
    first, second = (baseline("random", 10, rewards=signals["rewards"], seed=seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_grand_takes_the_longest_gradients(signals: dict[str, Any]) -> None:
    chosen = baseline("grand", 5, rewards=signals["rewards"], vectors=signals["vectors"])
    assert chosen.tolist() == np.argsort(-np.linalg.norm(signals["vectors"], axis=1))[:5].tolist()


def test_el2n_takes_the_least_expected_targets() -> None:
    probabilities = [[0.9, 0.9], [0.1, 0.2], [0.5, 0.5]]
    assert baseline("el2n", 2, rewards=np.zeros((3, 2)), target_probabilities=probabilities).tolist() == [1, 2]


def test_top_learnability_takes_the_largest(signals: dict[str, Any]) -> None:
    chosen = baseline("top_learnability", 4, rewards=signals["rewards"])
    assert chosen.tolist() == np.argsort(-learnability(signals["rewards"]))[:4].tolist()


def test_kmeans_takes_one_of_each_cluster() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(4) * 10
    embeddings = np.repeat(centres, 30, axis=0) + draw.standard_normal((120, 4)) * 0.1
    found = [
        set(baseline("kmeans", 4, rewards=np.zeros((120, 1)), embeddings=embeddings, seed=s) // 30) for s in range(8)
    ]
    assert {0, 1, 2, 3} in found


def test_kmeans_of_one_distinct_point_still_chooses_k() -> None:
    chosen = baseline("kmeans", 5, rewards=np.zeros((9, 1)), embeddings=np.ones((9, 3)))
    assert np.unique(chosen).size == 5


@pytest.mark.parametrize(("arm", "needed"), [(name, facts.needs) for name, facts in BASELINES.items()])
def test_computes_from_what_the_schemas_say_and_names_what_is_missing(
    arm: str, needed: str, signals: dict[str, Any]
) -> None:
    enough: dict[str, Any] = {name: signals[name] for name in {"rewards", needed}}
    assert baseline(arm, 3, **enough).size == 3
    if needed != "rewards":
        with pytest.raises(BaselineError, match=f"baseline '{arm}' needs {needed}"):
            baseline(arm, 3, **{name: values for name, values in signals.items() if name != needed})


def test_every_baseline_has_one_name_everywhere() -> None:
    assert list(CHOICES) == list(BASELINES) == list(get_args(Baseline)) == list(BASELINE_NAMES)
    assert set(BASELINE_NAMES.values()) <= set(KNOWN)


def test_kmeans_keeps_to_its_budget(signals: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    assign = baselines._assign
    monkeypatch.setattr(baselines, "_assign", lambda *args: rounds.append(1) or assign(*args))
    one_round = 40 * 6 * 5
    for budget, expected in ((100 * one_round, 11), (4 * one_round, 4), (2 * one_round, 2)):
        monkeypatch.setattr(baselines, "KMEANS_BUDGET", budget)
        rounds.clear()
        assert baseline("kmeans", 5, **signals).size == 5
        assert len(rounds) == expected
    monkeypatch.setattr(baselines, "KMEANS_BUDGET", 2 * one_round - 1)
    with pytest.raises(BaselineError, match="'kmeans' would take 2.4e\\+03 multiplications for 5 clusters of 40"):
        baseline("kmeans", 5, **signals)


def test_says_which_arms_there_are() -> None:
    with pytest.raises(ValueError, match="no baseline 'best'; there are random, kmeans"):
        baseline("best", 1, rewards=[[0.0]])


@pytest.mark.parametrize("arm", ["kmeans", "grand"])
def test_names_what_is_not_finite(arm: str, signals: dict[str, Any]) -> None:
    for name in ("embeddings", "vectors"):
        signals[name][17, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        baseline(arm, 3, **signals)
