"""Rank, NDCG and probability of the target over the whole catalogue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minirec.policy.head import Head, Masked, softmax_over_items
from minirec.policy.rewards import Outcomes, outcomes

CPU = torch.device("cpu")


def measure(
    z: torch.Tensor,
    items: torch.Tensor,
    targets: list[int],
    *,
    masked: list[list[int]] | None = None,
    block: int = 4096,
    ndcg_k: int = 1000,
    target_masked: torch.Tensor | None = None,
) -> Outcomes:
    mask = Masked.of(masked or [[] for _ in targets], CPU)
    head = Head(z, items, torch.tensor(targets), tau=0.02, masked=mask, block=block)
    return outcomes(head, softmax_over_items(head), ndcg_k=ndcg_k, softmax_weight=0.05, target_masked=target_masked)


def directions(*angles: float) -> torch.Tensor:
    return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles], dtype=torch.float64)


@given(seed=st.integers(0, 2**31), items=st.integers(2, 50), block=st.sampled_from([1, 7, 64]), share=st.floats(0, 0.9))
@settings(deadline=None, max_examples=100)
def test_rank_and_probability_are_those_of_a_sorted_softmax(seed: int, items: int, block: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    z = torch.from_numpy(generator.normal(size=(3, 5)))
    vectors = torch.nn.functional.normalize(torch.from_numpy(generator.normal(size=(items, 5))), dim=1)
    targets = generator.integers(items, size=3).tolist()
    masked = [[j for j in range(items) if j != target and generator.random() < share] for target in targets]
    result = measure(z, vectors, targets, masked=masked, block=block)
    for row, target in enumerate(targets):
        scores = (vectors @ z[row] / z[row].norm() / 0.02).numpy()
        scores[masked[row]] = -np.inf
        order = np.argsort(-scores, kind="stable").tolist()
        assert int(result.rank[row]) == order.index(target) + 1
        weights = np.exp(scores - scores.max())
        assert float(result.target_probability[row]) == pytest.approx(weights[target] / weights.sum(), rel=1e-9)


def test_reward_weighs_ndcg_and_probability() -> None:
    result = measure(directions(0.0), directions(0.0, 0.5, 0.1, 3.0), [1])
    assert result.rank.tolist() == [3]
    assert float(result.ndcg[0]) == pytest.approx(1 / math.log2(4))
    expected = 0.95 * 0.5 + 0.05 * float(result.target_probability[0])
    assert float(result.reward[0]) == pytest.approx(expected)


def test_a_rank_below_k_is_a_miss() -> None:
    result = measure(directions(0.0, 0.0), directions(0.0, 0.1, 0.2), [1, 2], ndcg_k=2)
    assert result.rank.tolist() == [2, 3]
    assert (result.ndcg > 0).tolist() == [True, False]


def test_k_is_cut_to_the_size_of_the_catalogue() -> None:
    everything = measure(directions(0.0), directions(0.0, 0.1, 0.2), [2], ndcg_k=1000)
    assert float(everything.ndcg[0]) == pytest.approx(1 / math.log2(4))


def test_items_that_read_the_same_share_the_better_rank() -> None:
    """Wherever the duplicates lie among the blocks and lanes of the product, only better items count."""
    generator = np.random.default_rng(3)
    vectors = torch.nn.functional.normalize(
        torch.from_numpy(generator.normal(size=(101, 333)).astype(np.float32)), dim=1
    )
    twins = [0, 5, 17, 50, 99, 100]
    vectors[twins] = vectors[5].clone()
    z = torch.from_numpy(generator.normal(size=(20, 333)))
    scores = z @ vectors.double().T
    scores[:, twins] = scores[:, [5] * len(twins)]
    expected = ((scores > scores[:, [5]]).sum(1) + 1).tolist()
    for twin in twins:
        assert measure(z, vectors, [twin] * 20, block=13).rank.tolist() == expected


def test_history_is_out_of_the_running() -> None:
    seen_first, seen_none = measure(
        directions(0.0, 0.0), directions(0.0, 0.1, 0.2), [1, 1], masked=[[0], []]
    ).rank.tolist()
    assert (seen_first, seen_none) == (1, 2)


def test_a_masked_target_as_published_ranks_last_and_has_no_probability() -> None:
    result = measure(directions(0.0), directions(0.0, 0.1, 0.2), [0], target_masked=torch.tensor([True]))
    assert result.rank.tolist() == [3]
    assert result.target_probability.tolist() == [0.0]
