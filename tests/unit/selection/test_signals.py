"""Learnability, advantages, the gate and representativeness, each against its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minirec.selection import (
    NO_SPREAD,
    OPEN,
    SIGNAL_POLICY,
    SIGNAL_TEACHER,
    TOO_EASY,
    TOO_HARD,
    advantages,
    gate,
    learnability,
    representativeness,
)
from minirec.selection.representativeness import Direction


class TestLearnability:
    def test_equals_the_published_numbers(self, golden_rewards: np.ndarray, golden_learnability: np.ndarray) -> None:
        assert np.abs(learnability(golden_rewards) - golden_learnability).max() < 1e-12

    def test_a_bell_as_wide_as_can_be_tells_nothing_apart(self) -> None:
        assert (learnability([[0.1], [0.9]], sigma=1e300, normalize=False) == 1).all()

    @pytest.mark.filterwarnings("ignore:overflow")
    def test_rewards_whose_spread_overflows_are_said_to_be_too_large(self) -> None:
        with pytest.raises(ValueError, match="too large"):
            learnability([[1e200], [-1e200]])

    def test_lists_and_arrays_give_the_same(self) -> None:
        rewards = [[0.1, 0.3], [0.9, 0.7], [0.0, 0.0]]
        assert learnability(rewards).tolist() == learnability(np.array(rewards)).tolist()

    def test_is_largest_at_mu(self) -> None:
        assert learnability([[0.2], [0.3], [0.4]], mu=0.3).argmax() == 1

    def test_raw_values_follow_the_formula(self) -> None:
        raw = learnability([[0.0, 0.2], [0.5, 0.5]], mu=0.5, sigma=0.2, normalize=False)
        assert raw == pytest.approx([np.exp(-(0.4**2) / 0.08), 1.0])

    def test_an_untrained_policys_tiny_spread_still_tells_samples_apart(self) -> None:
        rewards = np.random.default_rng(0).uniform(0, 1e-6, (50, 4))
        scores = learnability(rewards)
        assert np.unique(scores).size == 50
        assert (np.argsort(scores) == np.argsort(rewards.mean(axis=1))).all()

    def test_equal_rewards_are_equally_learnable(self) -> None:
        assert learnability([[0.4, 0.4]] * 3).tolist() == [0, 0, 0]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_names_the_row_that_is_not_finite(self, bad: float) -> None:
        with pytest.raises(ValueError, match=r"rewards: row 1 has NaN or infinity \(and 1 more rows\)"):
            learnability([[0.0, 0.1], [0.2, bad], [bad, 0.1]])

    def test_names_the_row_of_another_length(self) -> None:
        with pytest.raises(ValueError, match="rewards: row 2 has 1 values, row 0 has 2"):
            learnability([[0.0, 0.1], [0.2, 0.3], [0.4]])

    @pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
    def test_refuses_a_width_that_is_not_positive(self, sigma: float) -> None:
        with pytest.raises(ValueError, match="sigma"):
            learnability([[0.1], [0.2]], sigma=sigma)

    @pytest.mark.parametrize("rewards", [[0.1, 0.2], [[]], 0.5, "abc"])
    def test_refuses_what_is_no_table_of_numbers(self, rewards: Any) -> None:
        with pytest.raises(ValueError, match="rewards"):
            learnability(rewards)


class TestAdvantages:
    def test_are_the_standardised_rewards_where_outcomes_differ(self) -> None:
        values, signals = advantages([[0.0, 0.0, 0.4, 0.4]], [[0, 0, 1, 1]])
        assert values.tolist() == [[-1, -1, 1, 1]]
        assert signals.tolist() == [SIGNAL_POLICY]

    def test_softmax_noise_of_a_group_that_never_hits_is_no_signal(self) -> None:
        values, signals = advantages([[1e-6, 9e-6, 3e-6, 0.0]], [[0, 0, 0, 0]], floor=1e-9)
        assert not values.any()
        assert signals.tolist() == [SIGNAL_TEACHER]

    def test_ranks_that_differ_among_hits_are_a_signal(self) -> None:
        values, signals = advantages([[0.2, 0.6], [0.2, 0.2001]], [[1, 1], [1, 1]])
        assert signals.tolist() == [SIGNAL_POLICY, SIGNAL_TEACHER]
        assert values == pytest.approx(np.array([[-1, 1], [0, 0]]))

    def test_a_spread_below_the_floor_does_not_become_a_unit_advantage(self) -> None:
        values, signals = advantages([[0.0, 1e-4]], [[0, 1]], floor=1e-3)
        assert signals.tolist() == [SIGNAL_POLICY]
        assert values == pytest.approx(np.array([[-0.05, 0.05]]))

    def test_a_single_rollout_has_nothing_to_be_compared_with(self) -> None:
        assert advantages([[0.7]], [[1]])[1].tolist() == [SIGNAL_TEACHER]

    def test_refuses_hits_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match=r"hits have shape \(1, 1\), rewards have \(1, 2\)"):
            advantages([[0.0, 0.1]], [[1]])

    def test_refuses_a_floor_of_zero(self) -> None:
        with pytest.raises(ValueError, match="floor"):
            advantages([[0.0, 0.1]], [[0, 1]], floor=0.0)


class TestGate:
    @pytest.mark.parametrize(
        ("rewards", "hits", "verdict"),
        [
            ([0.0, 1e-6], [0, 0], TOO_HARD),
            ([0.0, 0.1], [0, 1], OPEN),
            ([0.96, 0.97], [1, 1], TOO_EASY),
            ([0.96, 0.5], [1, 1], OPEN),
            ([0.12, 0.1201], [1, 1], NO_SPREAD),
            ([0.96, 0.96], [1, 1], TOO_EASY),
            ([0.12, 0.0], [1, 0], OPEN),
        ],
    )
    def test_verdicts(self, rewards: list[float], hits: list[int], verdict: int) -> None:
        assert gate([rewards], [hits]).tolist() == [verdict]
        assert gate([rewards]).tolist() == [verdict], "and the same where hits are told from the rewards"

    def test_a_sample_that_no_rollout_hits_is_too_hard_whatever_it_earns(self) -> None:
        assert gate([[0.96, 0.96], [0.3, 0.3]], [[0, 0], [0, 0]]).tolist() == [TOO_HARD, TOO_HARD]

    def test_rollouts_that_agree_on_less_than_all_are_without_spread_not_too_easy(self) -> None:
        assert gate([[1.0, 1.0], [0.5, 0.5], [0.0, 0.0]]).tolist() == [TOO_EASY, NO_SPREAD, TOO_HARD]

    def test_one_rollout_has_no_spread_to_judge_by(self) -> None:
        assert gate([[1.0], [0.5], [0.0]]).tolist() == [TOO_EASY, OPEN, TOO_HARD]

    def test_thresholds_can_be_set(self) -> None:
        assert gate([[0.6, 0.7]], [[1, 1]], too_easy_reward=0.5).tolist() == [TOO_EASY]
        assert gate([[0.12, 0.1201]], [[1, 1]], min_spread=0.0).tolist() == [OPEN]

    def test_tells_the_published_hits_from_the_published_rewards(
        self, golden_rewards: np.ndarray, golden_hits: np.ndarray
    ) -> None:
        assert (gate(golden_rewards) == gate(golden_rewards, golden_hits)).all()

    def test_shuts_out_every_dead_sample_of_the_published_pool(
        self, golden_rewards: np.ndarray, golden_hits: np.ndarray
    ) -> None:
        dead = golden_rewards.mean(axis=1) < 1e-5
        assert (gate(golden_rewards, golden_hits)[dead] == TOO_HARD).all()


class TestRepresentativeness:
    def test_is_half_of_one_plus_the_cosine_with_the_direction(self) -> None:
        vectors = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        means: dict[Direction, np.ndarray] = {"unit_mean": units.mean(axis=0), "mean": vectors.mean(axis=0)}
        for direction, mean in means.items():
            cosines = units @ mean / np.linalg.norm(mean)
            raw = representativeness(vectors, direction=direction, normalize=False)
            assert raw == pytest.approx((1 + cosines) / 2, abs=1e-15)

    def test_lies_between_0_and_1_over_the_pool(self) -> None:
        values = representativeness(np.random.default_rng(0).standard_normal((40, 8)))
        assert (values.min(), values.max()) == pytest.approx((0, 1), abs=1e-9)

    def test_one_huge_row_does_not_become_the_direction(self) -> None:
        vectors = np.random.default_rng(0).standard_normal((100, 8)) + np.eye(8)[0]
        huge = vectors.copy()
        huge[0] *= 1e9
        assert np.abs(representativeness(huge) - representativeness(vectors)).max() < 1e-9
        assert np.abs(representativeness(huge, direction="mean") - representativeness(vectors)).max() > 0.1

    def test_a_zero_vector_neither_agrees_nor_opposes(self) -> None:
        assert representativeness([[1.0, 0.0], [0.0, 0.0]], normalize=False).tolist() == [1, 0.5]
        assert representativeness(np.zeros((3, 2)), normalize=False).tolist() == [0.5] * 3

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_the_vectors_length_does_not_matter(self, scale: float) -> None:
        vectors = np.random.default_rng(1).standard_normal((20, 4))
        assert representativeness(vectors * scale) == pytest.approx(representativeness(vectors), abs=1e-12)

    def test_blocks_do_not_change_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vectors = np.random.default_rng(1).standard_normal((23, 4))
        whole = representativeness(vectors)
        monkeypatch.setattr("minirec.selection.rows.BLOCK_BYTES", 80)
        assert representativeness(vectors) == pytest.approx(whole, abs=1e-12)

    @pytest.mark.parametrize("direction", ["unit_mean", "mean"])
    def test_names_the_row_that_is_not_finite(self, direction: Direction) -> None:
        vectors = np.ones((5, 3))
        vectors[3, 1] = np.inf
        with pytest.raises(ValueError, match="vectors: row 3 has NaN or infinity"):
            representativeness(vectors, direction=direction)

    @pytest.mark.parametrize("vectors", [np.ones(3), np.ones((0, 3)), np.ones((2, 2), dtype=int)])
    def test_refuses_what_is_no_matrix_of_numbers(self, vectors: np.ndarray) -> None:
        with pytest.raises(ValueError, match="vectors must"):
            representativeness(vectors)
