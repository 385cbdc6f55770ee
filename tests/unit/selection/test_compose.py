"""The whole selection: what the gate, the scores, the choice and the curriculum make together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minirec.selection import (
    OPEN,
    TOO_EASY,
    TOO_HARD,
    EmptySelectionError,
    curriculum,
    learnability,
    representativeness,
    select,
    select_diverse,
)


@pytest.fixture
def pool() -> dict[str, Any]:
    """60 samples, 20 of them dead."""
    draw = np.random.default_rng(0)
    rewards = draw.uniform(0.1, 0.9, (60, 4))
    rewards[::3] = draw.uniform(0, 1e-6, (20, 4))
    return {"rewards": rewards, "vectors": draw.standard_normal((60, 6)), "embeddings": draw.standard_normal((60, 8))}


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_no_dead_sample_of_the_published_pool_is_chosen(
    golden_rewards: np.ndarray, golden_hits: np.ndarray, size: int
) -> None:
    embeddings = np.random.default_rng(size).standard_normal((len(golden_rewards), 64), dtype=np.float32)
    for hits in (golden_hits, None):
        chosen = select(rewards=golden_rewards, hits=hits, embeddings=embeddings, k=size)
        assert not (golden_rewards.mean(axis=1)[chosen.indices] < 1e-5).any()
        assert chosen.backfilled == 0


def test_the_paper_profile_lets_dead_samples_through(golden_rewards: np.ndarray) -> None:
    draw = np.random.default_rng(0)
    n = len(golden_rewards)
    chosen = select(
        rewards=golden_rewards,
        vectors=draw.standard_normal((n, 16)),
        embeddings=draw.standard_normal((n, 16)),
        k=256,
        profile="paper",
    )
    assert (golden_rewards.mean(axis=1)[chosen.indices] < 1e-5).any()
    assert (chosen.gate == OPEN).all()


def test_composes_the_parts(pool: dict[str, Any]) -> None:
    chosen = select(**pool, k=20, alpha=0.7, groups=3, seed=1)
    scores = 0.7 * learnability(pool["rewards"]) + representativeness(pool["vectors"])
    diverse = select_diverse(pool["embeddings"], scores, 20, eligible=chosen.gate == OPEN)
    assert chosen.scores.tolist() == scores.tolist()
    assert chosen.indices.tolist() == diverse.indices.tolist()
    assert chosen.distances is not None
    assert chosen.distances.tolist() == diverse.distances.tolist()
    order = curriculum(pool["rewards"].mean(axis=1), chosen.indices, groups=3, seed=1)
    assert chosen.order.tolist() == order.tolist()
    assert chosen.groups.tolist() == [7, 7, 6]


def test_the_paper_profile_is_the_published_computation(pool: dict[str, Any]) -> None:
    chosen = select(**pool, k=20, groups=3, profile="paper")
    sigma = pool["rewards"].mean(axis=1).std()
    scores = learnability(pool["rewards"], sigma=sigma) + representativeness(pool["vectors"], direction="mean")
    assert chosen.scores.tolist() == scores.tolist()
    assert chosen.indices.tolist() == select_diverse(pool["embeddings"], scores, 20).indices.tolist()
    assert chosen.groups.tolist() == [6, 6, 8]


def test_the_paper_profile_puts_no_floor_under_sigma() -> None:
    rewards = np.random.default_rng(0).uniform(0.4, 0.6, (30, 4))
    published = learnability(rewards, sigma=rewards.mean(axis=1).std())
    assert select(rewards=rewards, k=3, profile="paper").learnability.tolist() == published.tolist()
    assert select(rewards=rewards, k=3).learnability.tolist() == learnability(rewards).tolist()
    assert select(rewards=np.full((4, 2), 0.3), k=2, profile="paper").indices.tolist() == [0, 1]


def test_rewards_alone_choose_the_most_learnable(pool: dict[str, Any]) -> None:
    chosen = select(rewards=pool["rewards"], k=10)
    is_open = chosen.gate == OPEN
    assert chosen.representativeness is None
    assert chosen.distances is None
    best = np.flatnonzero(is_open)[np.argsort(-chosen.learnability[is_open], kind="stable")][:10]
    assert chosen.indices.tolist() == best.tolist()


def test_raw_learnability_is_kept_beside_the_normalised(pool: dict[str, Any]) -> None:
    chosen = select(rewards=pool["rewards"], k=5, mu=0.4, sigma=0.3)
    raw = learnability(pool["rewards"], mu=0.4, sigma=0.3, normalize=False)
    assert chosen.learnability_raw.tolist() == raw.tolist()


def test_without_vectors_and_alpha_there_is_nothing_to_choose_by(pool: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="alpha is 0 and there are no vectors"):
        select(rewards=pool["rewards"], k=3, alpha=0)


@pytest.mark.parametrize("with_embeddings", [True, False])
def test_gated_samples_fill_up_last_and_are_counted(pool: dict[str, Any], with_embeddings: bool) -> None:
    signals = pool if with_embeddings else {"rewards": pool["rewards"]}
    chosen = select(**signals, k=50)
    verdicts = chosen.gate[chosen.indices]
    assert (verdicts[:40] == OPEN).all()
    assert (verdicts[40:] == TOO_HARD).all()
    assert chosen.backfilled == 10
    assert any("10 of the 50 selected samples are gated" in warning for warning in chosen.warnings)


def test_the_gate_can_be_left_open(pool: dict[str, Any]) -> None:
    chosen = select(**pool, k=50, gated=False)
    assert (chosen.gate == OPEN).all()
    assert chosen.backfilled == 0


def test_hits_decide_over_rewards() -> None:
    rewards = np.array([[0.3, 0.5], [0.3, 0.5], [0.96, 0.99]])
    chosen = select(rewards=rewards, hits=np.array([[1, 1], [0, 0], [1, 1]]), k=1)
    assert chosen.gate.tolist() == [OPEN, TOO_HARD, TOO_EASY]


def test_a_gate_that_leaves_little_warns() -> None:
    rewards = np.zeros((50, 4))
    rewards[7] = [0, 0, 0.4, 0.4]
    chosen = select(rewards=rewards, k=1)
    assert chosen.indices.tolist() == [7]
    assert chosen.warnings == ("only 1 of 50 samples (2.0%) pass the gate",)


def test_a_gate_that_leaves_nothing_says_what_the_rewards_looked_like() -> None:
    rewards = np.array([[2e-6, 1e-6]] * 3 + [[0.99, 0.98]])
    with pytest.raises(EmptySelectionError) as raised:
        select(rewards=rewards, k=2)
    assert "3 are too hard" in str(raised.value)
    assert "1 too easy" in str(raised.value)
    assert "0.985 at most; 75% below 1e-5" in str(raised.value)


def test_groups_follow_from_the_group_size(pool: dict[str, Any]) -> None:
    assert select(rewards=pool["rewards"], k=30, group_size=8).groups.tolist() == [8, 8, 7, 7]
    assert select(rewards=pool["rewards"], k=3).groups.tolist() == [3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 61}, "cannot select 61 of 60"),
        ({"k": 0}, "cannot select 0 of 60"),
        ({"alpha": -1.0}, "alpha"),
        ({"vectors": np.ones((59, 2))}, "60 samples with rewards and 59 vectors"),
        ({"embeddings": np.ones((61, 2))}, "60 samples with rewards and 61 embeddings"),
        ({"embeddings": np.full((60, 2), np.nan)}, "embeddings: row 0 has NaN or infinity"),
        ({"hits": np.ones((60, 3))}, "hits have shape"),
        ({"groups": 30}, "cannot cut 20 samples into 30 groups"),
    ],
)
def test_refuses_with_the_reason(pool: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(**{**pool, "k": 20, **change})
