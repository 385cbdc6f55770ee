"""Closed forms against autograd in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minirec.policy.gradients import Loss, gradient, gradient_and_hvp, hvp
from minirec.policy.head import Head, Masked, softmax_over_items

LOSSES: list[Loss] = ["nll", "ratio"]


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Rows of any length against a catalogue, some of it masked; blocks that do not divide it."""
    rows, size, items = draw(st.integers(1, 5)), draw(st.integers(2, 24)), draw(st.integers(2, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    vectors = torch.nn.functional.normalize(torch.randn(items, size, dtype=torch.float64, generator=generator), dim=1)
    targets = torch.randint(items, (rows,), generator=generator)
    shown = torch.rand(rows, items, generator=generator) < draw(st.sampled_from([0.0, 0.3]))
    shown[torch.arange(rows), targets] = False
    shown[torch.arange(rows), (targets + 1) % items] = False
    return {
        "z": torch.randn(rows, size, dtype=torch.float64, generator=generator)
        * draw(st.sampled_from([0.1, 1.0, 30.0])),
        "items": vectors,
        "targets": targets,
        "tau": draw(st.sampled_from([0.02, 0.1, 1.0])),
        "advantages": draw(st.sampled_from([None, torch.randn(rows, dtype=torch.float64, generator=generator)])),
        "shown": shown,
        "vector": torch.randn(rows, size, dtype=torch.float64, generator=generator),
        "block": draw(st.sampled_from([1, 7, 4096])),
    }


def autograd_loss(z: Tensor, case: dict[str, Any], loss: Loss) -> Tensor:
    """The loss by its definition, summed over rows: each row's gradient is then its own.

    log p_y is written as -log(1 + sum of the others / own), whose derivatives stay exact where p_y is nearly 1.
    """
    u = z / z.norm(dim=1, keepdim=True)
    scores = (u @ case["items"].T / case["tau"]).masked_fill(case["shown"], -torch.inf)
    is_target = torch.nn.functional.one_hot(case["targets"], len(case["items"])).bool()
    others = scores.masked_fill(is_target, -torch.inf).logsumexp(1)
    log_p = -torch.logaddexp(torch.zeros_like(others), others - scores[is_target])
    each = -log_p if loss == "nll" else -log_p.exp() / log_p.exp().detach()
    weights = torch.ones_like(each) if case["advantages"] is None else case["advantages"]
    return (weights * each).sum()


def autograd(case: dict[str, Any], loss: Loss, vector: Tensor | None) -> tuple[Tensor, Tensor]:
    z = case["z"].clone().requires_grad_()
    (first,) = torch.autograd.grad(autograd_loss(z, case, loss), z, create_graph=True)
    along = first.detach() if vector is None else vector
    (second,) = torch.autograd.grad((first * along).sum(), z)
    return first.detach(), second


def options(case: dict[str, Any]) -> dict[str, Any]:
    masked = Masked.of([row.nonzero()[:, 0].tolist() for row in case["shown"]], torch.device("cpu"))
    return {"tau": case["tau"], "advantages": case["advantages"], "masked": masked, "block": case["block"]}


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))


@given(case=cases(), loss=st.sampled_from(LOSSES))
@settings(deadline=None, max_examples=150)
def test_gradient_is_that_of_autograd(case: dict[str, Any], loss: Loss) -> None:
    expected, _ = autograd(case, loss, None)
    ours = gradient(case["z"], case["items"], case["targets"], **options(case))
    assert relative_error(ours, expected) < 1e-6


@given(case=cases(), loss=st.sampled_from(LOSSES), own=st.booleans())
@settings(deadline=None, max_examples=150)
def test_hessian_vector_product_is_that_of_double_backward(case: dict[str, Any], loss: Loss, own: bool) -> None:
    vector = None if own else case["vector"]
    _, expected = autograd(case, loss, vector)
    ours = hvp(case["z"], case["items"], case["targets"], vector=vector, loss=loss, **options(case))
    assert relative_error(ours, expected) < 1e-6


@given(case=cases(), loss=st.sampled_from(LOSSES))
@settings(deadline=None, max_examples=50)
def test_both_at_once_are_the_two_apart(case: dict[str, Any], loss: Loss) -> None:
    settings_ = options(case)
    advantages = torch.ones(len(case["z"])) if case["advantages"] is None else case["advantages"]
    head = Head(
        case["z"], case["items"], case["targets"], tau=case["tau"], masked=settings_["masked"], block=case["block"]
    )
    pair = gradient_and_hvp(head, softmax_over_items(head), advantages, loss=loss)
    torch.testing.assert_close(pair[0], gradient(case["z"], case["items"], case["targets"], **settings_))
    torch.testing.assert_close(pair[1], hvp(case["z"], case["items"], case["targets"], loss=loss, **settings_))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-5)])
def test_narrow_inputs_are_accumulated_in_float32(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(8, 256, generator=generator).to(dtype)
    vectors = torch.nn.functional.normalize(torch.randn(20_000, 256, generator=generator), dim=1).to(dtype)
    targets = torch.randint(20_000, (8,), generator=generator)
    ours = gradient(z, vectors, targets, tau=0.02)
    exact = gradient(z.double(), vectors.double(), targets, tau=0.02)
    assert ours.dtype == torch.float32
    assert relative_error(ours.double(), exact) < tolerance
    twice = hvp(z, vectors, targets, tau=0.02)
    assert relative_error(twice.double(), hvp(z.double(), vectors.double(), targets, tau=0.02)) < tolerance


def test_gradient_points_away_from_the_target_and_across_z() -> None:
    z = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(torch.randn(9, 8, dtype=torch.float64), dim=1)
    targets = torch.tensor([0, 4, 8])
    pull = gradient(z, vectors, targets, tau=0.1)
    assert ((pull * vectors[targets]).sum(1) < 0).all()
    torch.testing.assert_close((pull * z).sum(1), torch.zeros(3, dtype=torch.float64))


def test_extreme_temperatures_overflow_nothing() -> None:
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    everything_first_masked = Masked.of([range(8), []], torch.device("cpu"))
    for tau in (1e-6, 1e6):
        targets = torch.tensor([20, 3])
        assert gradient(z, vectors, targets, tau=tau, masked=everything_first_masked, block=8).isfinite().all()
        assert hvp(z, vectors, targets, tau=tau, masked=everything_first_masked, block=8).isfinite().all()
