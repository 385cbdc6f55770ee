"""What is said of rewards that are not what the method expects, as people upload them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minirec.selection import EmptySelectionError, select

LIKERT = [[1.0, 1.0, 1.0, 1.0], [2.0, 3.0, 4.0, 5.0], [3.0, 5.0, 1.0, 3.0], [4.0, 1.0, 4.0, 1.0]] * 5
PLUS_MINUS = [[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, -1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]] * 5
PERCENT = [[10.0, 0.0, 80.0], [55.0, 3.0, 0.0]] * 5


@pytest.mark.parametrize("rewards", [PLUS_MINUS, PERCENT])
def test_another_scale_is_said_with_its_ends(rewards: list[list[float]]) -> None:
    chosen = select(rewards=rewards, k=3)
    (warning,) = [text for text in chosen.warnings if "expects 0 to 1" in text]
    assert f"rewards go from {np.min(rewards):g} to {np.max(rewards):g}" in warning
    assert "a rollout hits from a reward of 0.001" in warning
    assert "Scale the rewards to 0 to 1, or give hit for each rollout, mu and too_easy_reward" in warning


def test_a_scale_that_the_settings_know_of_is_no_warning() -> None:
    hits = np.array(PERCENT) >= 50
    assert [text for text in select(rewards=PERCENT, hits=hits, k=3).warnings if "expects 0 to 1" in text]
    settings: dict[str, Any] = {"mu": 50.0, "too_easy_reward": 95.0, "sigma": 20.0}
    assert not [text for text in select(rewards=PERCENT, hits=hits, k=3, **settings).warnings if "expects" in text]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_pass_rates_of_any_type_are_on_the_scale(dtype: type) -> None:
    rewards: np.ndarray = np.array([[0, 1, 0, 1], [0, 0, 0, 1]] * 10).astype(dtype)
    assert select(rewards=rewards, k=10).warnings == ()


def test_rewards_that_are_all_zero_are_said_with_likely_causes() -> None:
    for settings in ({"gated": False}, {"profile": "paper"}):
        warnings = select(rewards=np.zeros((9, 4)), k=2, **settings).warnings
        assert any("every rollout of every sample has the reward 0. Likely causes" in text for text in warnings)
    assert any("has the reward 0.7" in text for text in select(rewards=np.full((9, 1), 0.7), k=2).warnings)


@pytest.mark.parametrize(
    ("rewards", "advice"),
    [
        (np.zeros((6, 4)), "Every reward is 0. Likely causes: the answers do not have the form"),
        (np.full((6, 4), 1e-5), "Hardly any rollout hits: take a policy with a training run behind it"),
        (np.full((6, 4), 0.99), "The policy solves the pool already: take harder samples, or raise too_easy_reward"),
        (np.full((6, 4), 0.5), "The rollouts of a sample agree: more rollouts or a higher temperature"),
        (np.array(LIKERT), "Rewards go from 1 to 5, and the method expects 0 to 1"),
        (-np.array(LIKERT), "Rewards go from -5 to -1, and the method expects 0 to 1"),
    ],
)
def test_the_advice_of_an_empty_selection_fits_what_was_seen(rewards: np.ndarray, advice: str) -> None:
    with pytest.raises(EmptySelectionError) as raised:
        select(rewards=rewards, k=2)
    assert advice in str(raised.value)


def test_an_empty_selection_counts_each_verdict() -> None:
    rewards = [[0.0, 0.0]] * 2 + [[1.0, 1.0]] * 3 + [[0.5, 0.5]] * 4
    with pytest.raises(EmptySelectionError, match=r"2 are too hard .* 3 too easy .* and 4 without spread"):
        select(rewards=rewards, k=2)
