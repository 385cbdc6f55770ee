"""Closed forms of a plain text policy against autograd in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minirec.policy.token_gradients import token_gradient, token_hvp


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    tokens, size, words = draw(st.integers(1, 70)), draw(st.integers(1, 12)), draw(st.integers(2, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return {
        "z": torch.randn(tokens, size, dtype=torch.float64, generator=generator),
        "weight": torch.randn(words, size, dtype=torch.float64, generator=generator),
        "targets": torch.randint(words, (tokens,), generator=generator),
        "advantages": draw(st.sampled_from([None, torch.randn(tokens, dtype=torch.float64, generator=generator)])),
        "cap": draw(st.sampled_from([None, 3.0, 30.0])),
        "vector": torch.randn(size, dtype=torch.float64, generator=generator),
    }


def capped_logits(z: Tensor, case: dict[str, Any]) -> Tensor:
    logits: Tensor = z @ case["weight"].T
    return logits if case["cap"] is None else case["cap"] * torch.tanh(logits / case["cap"])


def autograd(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian-vector product per token, each summed over tokens."""
    z = case["z"].clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(capped_logits(z, case), case["targets"], reduction="none")
    weights = torch.ones_like(losses) if case["advantages"] is None else case["advantages"]
    (first,) = torch.autograd.grad((weights * losses).sum(), z, create_graph=True)
    (second,) = torch.autograd.grad((first @ case["vector"]).sum(), z)
    return first.detach().sum(0), second.sum(0)


def close(ours: Tensor, theirs: Tensor, case: dict[str, Any]) -> bool:
    """To 1e-6 of the result, or of what is summed where that cancels out."""
    scale = theirs.norm() + 1e-6 * case["weight"].norm() * len(case["z"])
    return bool((ours - theirs).norm() < 1e-6 * scale)


@given(case=cases())
@settings(deadline=None, max_examples=150)
def test_gradient_and_hessian_vector_product_are_those_of_autograd(case: dict[str, Any]) -> None:
    first, second = autograd(case)
    logits = capped_logits(case["z"], case)
    options = {"advantages": case["advantages"], "cap": case["cap"]}
    assert close(token_gradient(logits, case["targets"], case["weight"], **options), first, case)
    assert close(token_hvp(logits, case["targets"], case["weight"], case["vector"], **options), second, case)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-5)])
def test_narrow_logits_are_accumulated_wide(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50_000, 64, generator=generator).to(dtype)
    logits = (torch.randn(40, 64, generator=generator) @ weight.float().T).to(dtype)
    targets = torch.randint(50_000, (40,), generator=generator)
    vector = torch.randn(64, generator=generator)
    ours = token_gradient(logits, targets, weight), token_hvp(logits, targets, weight, vector)
    exact = (
        token_gradient(logits.double(), targets, weight.double()),
        token_hvp(logits.double(), targets, weight.double(), vector.double()),
    )
    for narrow, wide in zip(ours, exact, strict=True):
        assert narrow.dtype == torch.float32
        assert (narrow - wide).norm() / wide.norm() < tolerance
