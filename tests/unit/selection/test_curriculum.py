"""The training order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirec.selection import curriculum
from minirec.selection.curriculum import group_sizes


@pytest.mark.parametrize(("size", "groups"), [(256, 4), (1024, 16)])
@pytest.mark.parametrize("remainder", ["spread", "last"])
def test_equals_the_published_orders(
    golden: Path, golden_rewards: np.ndarray, size: int, groups: int, remainder: Any
) -> None:
    selected = np.load(golden / f"selected_{size}.npy")
    published = np.load(golden / f"curriculum_{size}_k{groups}.npy")
    order = curriculum(golden_rewards.mean(axis=1), selected, groups=groups, remainder=remainder)
    assert order.dtype == np.int64
    assert order.tolist() == published.tolist()


@given(k=st.integers(1, 60), data=st.data(), seed=st.integers(0, 5))
def test_each_group_goes_from_easy_to_hard_and_nothing_is_lost(k: int, data: st.DataObject, seed: int) -> None:
    groups = data.draw(st.integers(1, k))
    rewards = np.random.default_rng(seed).integers(0, 4, 100) / 4
    indices = np.random.default_rng(seed).permutation(100)[:k]
    order = curriculum(rewards, indices, groups=groups, seed=seed)
    assert sorted(order) == sorted(indices)
    for part in np.split(order, np.cumsum(group_sizes(k, groups))[:-1]):
        assert (np.diff(rewards[part]) <= 0).all()


def test_does_not_depend_on_the_order_of_choice() -> None:
    rewards = np.linspace(0, 1, 20)
    indices = [4, 9, 1, 17, 12, 3]
    assert curriculum(rewards, indices, groups=2).tolist() == curriculum(rewards, indices[::-1], groups=2).tolist()


def test_equal_rewards_keep_their_shuffled_order() -> None:
    shuffled = list(range(10))
    random.Random(3).shuffle(shuffled)
    assert curriculum(np.zeros(10), range(10), groups=1, seed=3).tolist() == shuffled


def test_an_uneven_size_is_spread_or_left_to_the_last_group() -> None:
    assert group_sizes(11, 4).tolist() == [3, 3, 3, 2]
    assert group_sizes(11, 4, "last").tolist() == [2, 2, 2, 5]


@pytest.mark.parametrize(
    ("rewards", "indices", "groups", "message"),
    [
        ([0.1, 0.2], [0, 1], 0, "groups must lie between 1 and 2"),
        ([0.1, 0.2], [0, 1], 3, "groups must lie between 1 and 2"),
        ([0.1, 0.2], [0, 2], 1, "between 0 and 1"),
        ([0.1, 0.2], [-1, 0], 1, "between 0 and 1"),
        ([0.1, 0.2], [1, 1], 1, "index 1 appears more than once"),
        ([0.1, 0.2], [0.0, 1.0], 1, "indices must be integers"),
        ([0.1, np.nan], [0], 1, "mean rewards: row 1 has NaN or infinity"),
    ],
)
def test_refuses_with_the_reason(rewards: list[float], indices: list[int], groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curriculum(rewards, indices, groups=groups)
