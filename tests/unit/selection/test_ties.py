"""Which of several equal samples is chosen: never one for its position, and not without a warning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirec.selection import baseline, select, tie_order
from minirec.selection.ties import merge_equal

WARNING = "samples tie at the cut"


def pass_rates(n: int, rollouts: int, seed: int = 0) -> np.ndarray:
    """Rewards of 0 or 1, as verifiable rewards are."""
    return np.random.default_rng(seed).integers(0, 2, (n, rollouts)).astype(float)


def names(n: int) -> list[str]:
    return [f"u{number % 7}-{number}" for number in range(n)]


@given(seed=st.integers(0, 10_000), n=st.integers(2, 60))
def test_the_order_of_the_file_does_not_decide(seed: int, n: int) -> None:
    rewards, ids = pass_rates(n, 4, seed), names(n)
    k = max(1, n // 3)
    shuffled = np.random.default_rng(seed).permutation(n)
    first = select(rewards=rewards, k=k, ids=ids, gated=False)
    second = select(rewards=rewards[shuffled], k=k, ids=[ids[row] for row in shuffled], gated=False)
    assert [ids[row] for row in first.indices] == [ids[shuffled[row]] for row in second.indices]


def test_a_sample_keeps_its_turn_whatever_else_is_in_the_pool() -> None:
    ids = names(50)
    whole = tie_order(ids, 42)
    part = tie_order(ids[10:30], 42)
    assert np.argsort(whole[10:30]).tolist() == np.argsort(part).tolist()


def test_the_seed_decides_who_goes_first() -> None:
    ids = names(50)
    assert tie_order(ids, 1).tolist() != tie_order(ids, 2).tolist()
    assert sorted(tie_order(ids, 1)) == list(range(50))


def test_ties_are_spread_over_the_file() -> None:
    chosen = select(rewards=np.tile([0.0, 1.0], (4000, 1)), k=1000).indices
    thirds = np.bincount(chosen * 4 // 4000, minlength=4)
    assert (abs(thirds - 250) < 60).all(), thirds


def test_the_paper_profile_keeps_the_published_order() -> None:
    chosen = select(rewards=np.tile([0.0, 1.0], (40, 1)), k=7, profile="paper")
    assert chosen.indices.tolist() == list(range(7))
    assert "7 of them were chosen in the order of the pool" in chosen.warnings[-1]


def test_a_cut_through_a_tie_says_how_large_it_is_and_what_would_break_it() -> None:
    rewards = np.array([[0, 1.0]] * 30 + [[0, 0.4]] * 20)
    (warning,) = select(rewards=rewards, k=12).warnings
    assert warning.startswith("30 samples tie at the cut, and 12 of them were chosen at random (seed 42)")
    assert "embeddings, more rollouts per sample, stratify_by" in warning


@pytest.mark.parametrize("k", [30, 50])
def test_a_cut_between_two_scores_is_no_warning(k: int) -> None:
    rewards = np.array([[0, 1.0]] * 30 + [[0, 0.4]] * 20)
    assert select(rewards=rewards, k=k).warnings == ()


def test_scores_that_differ_by_rounding_are_equal() -> None:
    """Mean rewards of 0.2 and 0.8 are equally far from 0.5, and 1e-17 apart in float64."""
    low, high = [0.2] * 2 + [0.0, 0.4], [0.8] * 2 + [0.6, 1.0]
    ids = names(40)
    chosen = select(rewards=np.array([low, high] * 20), k=20, ids=ids)
    assert WARNING in chosen.warnings[0]
    assert chosen.indices.tolist() == np.argsort(tie_order(ids, 42))[:20].tolist()


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 1.0]), min_size=1, max_size=30), st.integers(0, 99))
def test_merging_keeps_order_and_differences(values: list[float], seed: int) -> None:
    exact = np.array(values)
    noisy = exact * (1 + np.random.default_rng(seed).integers(-2, 3, exact.size) * 1e-16)
    merged = merge_equal(noisy)
    assert len(set(merged)) == len(set(values))
    assert np.abs(merged - exact).max() < 1e-14


def test_embeddings_break_ties_and_duplicates_are_said() -> None:
    draw = np.random.default_rng(0)
    rewards = np.tile([0.0, 1.0], (60, 1))
    assert select(rewards=rewards, embeddings=draw.standard_normal((60, 8)), k=20).warnings == ()
    same = np.repeat(draw.standard_normal((5, 8)), 12, axis=0)
    (warning,) = select(rewards=rewards, embeddings=same, k=20).warnings
    assert warning.startswith("55 samples tie at the cut, and 15 of them were chosen at random")
    assert "embeddings" not in warning


def test_baselines_are_no_more_tied_to_positions() -> None:
    rewards = np.tile([0.0, 1.0], (40, 1))
    order = tie_order(names(40), 3)
    chosen = baseline("top_learnability", 10, rewards=rewards, tie_order=order)
    assert chosen.tolist() == np.argsort(order)[:10].tolist()


class TestStrata:
    @pytest.mark.parametrize("with_embeddings", [False, True])
    @given(seed=st.integers(0, 10_000), n_strata=st.integers(1, 12), share=st.floats(0.05, 1))
    def test_every_stratum_has_its_share_to_within_one(
        self, with_embeddings: bool, seed: int, n_strata: int, share: float
    ) -> None:
        draw = np.random.default_rng(seed)
        n = 60
        strata = draw.integers(0, n_strata, n).astype(str)
        k = max(1, round(share * n))
        embeddings = draw.standard_normal((n, 4)) if with_embeddings else None
        chosen = select(rewards=pass_rates(n, 8, seed), embeddings=embeddings, k=k, strata=strata, gated=False)
        assert len(set(chosen.indices.tolist())) == k
        for name in set(strata):
            exact = k * (strata == name).sum() / n
            assert abs((strata[chosen.indices] == name).sum() - exact) < 1

    def test_shares_are_of_the_open_samples_and_gated_ones_come_last(self) -> None:
        rewards = np.array([[0.0, 1.0]] * 10 + [[0.0, 0.0]] * 10 + [[0.0, 1.0]] * 20)
        strata = np.repeat(["a", "b"], 20)
        chosen = select(rewards=rewards, k=15, strata=strata)
        assert np.bincount((strata[chosen.indices] == "b").astype(int)).tolist() == [5, 10]
        assert chosen.backfilled == 0
        filled = select(rewards=rewards, k=34, strata=strata)
        assert (filled.gate[filled.indices[:30]] == 0).all()
        assert filled.backfilled == 4

    def test_the_best_of_each_stratum_are_chosen(self) -> None:
        rewards = np.array([[0.5, 0.5 - n / 1000] for n in range(40)])
        strata = np.arange(40) % 2
        chosen = select(rewards=rewards, k=10, strata=strata, min_spread=0.0)
        assert sorted(chosen.indices.tolist()) == list(range(10))

    def test_a_tie_within_strata_is_said(self) -> None:
        chosen = select(rewards=np.tile([0.0, 1.0], (40, 1)), k=10, strata=np.arange(40) % 4)
        assert chosen.warnings[0].startswith("40 samples tie at the cuts of their strata, and 10 of them")
        assert "stratify_by" not in chosen.warnings[0]

    def test_there_is_one_stratum_per_sample(self) -> None:
        with pytest.raises(ValueError, match="one stratum for each of 4 samples"):
            select(rewards=[[0.1, 0.5]] * 4, k=1, strata=["a"])
