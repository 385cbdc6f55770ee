"""The losses against definitions written out by hand, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from minirec.policy.rollouts import Sampling, draw
from minirec.training.losses import ENDED, clipped_objective, item_log_probabilities, log_probabilities


def logits(rows: int, *, seed: int = 0, vocabulary: int = 30) -> torch.Tensor:
    return 3 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_distribution(row: list[float], sampling: Sampling) -> dict[int, float]:
    """Probability of each token that can be drawn."""
    order = sorted(range(len(row)), key=lambda token: -row[token])[: sampling.top_k or len(row)]
    weights = {token: math.exp(row[token] / sampling.temperature) for token in order}
    total, before, kept = sum(weights.values()), 0.0, {}
    for token, weight in weights.items():
        if before < sampling.top_p:
            kept[token] = weight / total
        before += weight / total
    return {token: probability / sum(kept.values()) for token, probability in kept.items()}


@pytest.mark.parametrize(
    "sampling", [Sampling(1.0, 0, 1.0), Sampling(1.5, 7, 1.0), Sampling(0.7, 12, 0.8), Sampling(2.0, 0, 0.5)], ids=str
)
def test_the_log_probability_is_that_of_the_distribution_tokens_are_drawn_from(sampling: Sampling) -> None:
    table = logits(6)
    for row, scores in enumerate(table.tolist()):
        for token, probability in plain_distribution(scores, sampling).items():
            value = log_probabilities(table[row, None], torch.tensor([token]), torch.tensor([0]), sampling)
            assert value.item() == pytest.approx(math.log(probability), abs=1e-12)


def test_drawn_tokens_are_as_frequent_as_their_log_probability_says() -> None:
    sampling = Sampling(1.5, 5, 0.9)
    table = logits(1).expand(4000, -1)
    noise = (torch.arange(4000, dtype=torch.float64) / 4000).numpy()
    drawn = torch.from_numpy(draw(table, noise, sampling))
    for token in set(drawn.tolist()):
        value = log_probabilities(table[:1], torch.tensor([token]), torch.tensor([0]), sampling)
        assert value.exp().item() == pytest.approx((drawn == token).double().mean().item(), abs=1e-3)


def test_what_can_be_drawn_has_a_score_function_of_mean_zero() -> None:
    sampling = Sampling(1.5, 7, 0.9)
    table = logits(1).requires_grad_()
    mean = torch.zeros_like(table)
    for token, probability in plain_distribution(table[0].tolist(), sampling).items():
        value = log_probabilities(table, torch.tensor([token]), torch.tensor([0]), sampling)
        mean += probability * torch.autograd.grad(value.sum(), table)[0]
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-12, rtol=0)


def test_ending_the_turn_counts_whichever_token_said_so() -> None:
    sampling, table = Sampling(1.2, 0, 1.0), logits(3)
    ended = log_probabilities(table, torch.full((3,), ENDED), torch.tensor([4, 9]), sampling)
    either = (table / 1.2).softmax(1)[:, [4, 9]].sum(1).log()
    torch.testing.assert_close(ended, either)


def test_a_token_that_rounding_moved_out_of_the_top_k_stays_finite() -> None:
    table = logits(1).requires_grad_()
    unlikely = table.argmin(1)
    value = log_probabilities(table, unlikely, torch.tensor([0]), Sampling(1.5, 3, 0.5))
    (slope,) = torch.autograd.grad(value.sum(), table)
    assert value.isfinite().all()
    assert slope.isfinite().all()
    assert slope[0, unlikely].item() > 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 2.0, 2.0),
        (1.2, 2.0, 2.4),
        (1.5, 2.0, 2 * 1.28),
        (0.5, 2.0, 1.0),
        (0.9, -2.0, -1.8),
        (0.5, -2.0, -2 * 0.8),
        (1.5, -2.0, -3.0),
        (1.5, 0.0, 0.0),
    ],
)
def test_the_objective_is_clipped_where_it_would_gain_from_going_further(
    ratio: float, advantage: float, expected: float
) -> None:
    old = torch.tensor([-3.0], dtype=torch.float64)
    new = (old + math.log(ratio)).requires_grad_()
    value = clipped_objective(new, old, torch.tensor([advantage], dtype=torch.float64), clip_low=0.2, clip_high=0.28)
    assert value.item() == pytest.approx(expected, abs=1e-12)
    (slope,) = torch.autograd.grad(value.sum(), new)
    clipped = (ratio > 1.28 and advantage > 0) or (ratio < 0.8 and advantage < 0)
    assert slope.item() == pytest.approx(0.0 if clipped else ratio * advantage, abs=1e-12)


def test_the_item_loss_is_a_softmax_over_the_targets_that_are_not_in_the_history() -> None:
    generator = torch.Generator().manual_seed(1)
    u, items = (
        torch.nn.functional.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)
        for rows in (3, 4)
    )
    chosen = torch.tensor([2, 0, 2])
    masked = torch.zeros(3, 4, dtype=torch.bool)
    masked[0, 1] = masked[2, 0] = masked[2, 3] = True
    values = item_log_probabilities(u, items, chosen, masked, tau=0.02)
    for row in range(3):
        scores = {item: float(u[row] @ items[item]) / 0.02 for item in range(4) if not masked[row, item]}
        peak = max(scores.values())
        total = peak + math.log(sum(math.exp(score - peak) for score in scores.values()))
        assert values[row].item() == pytest.approx(scores[int(chosen[row])] - total, abs=1e-10)
