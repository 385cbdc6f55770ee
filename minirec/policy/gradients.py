"""Gradients and Hessian-vector products of a rollout in the space of z, in closed form.

    s = E u / tau,  u = z / |z|,  p = softmax(s),  a = E^T (p - e_y)
    g = (I - u u^T) a / (tau |z|)                                              gradient of -log p_y
    du = (I - u u^T) v / |z|,  ds = E du / tau,  da = E^T (p * (ds - <p, ds>))
    H v = (da - du <u, a> - u (<du, a> + <u, da>)) / (tau |z|) - g <u, v> / |z|

No backward pass through the language model, no graph (docs/method.md, section 4).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from minirec.policy.head import BLOCK, Head, Masked, Softmax, softmax_over_items

Loss = Literal["nll", "ratio"]
"""`nll`: -log p_y, ours. `ratio`: -p_y / p_y.detach(), the published one; same gradient, another Hessian."""


def gradient(
    z: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    tau: float,
    advantages: Tensor | None = None,
    masked: Masked | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Return the gradient (R, d) of -A log p_y with respect to z; that of the ratio loss is the same (section 4).

    Args:
        z: (R, d), one row per rollout.
        items: (M, d), unit rows.
        targets: (R,), item numbers.
        tau: Temperature of the softmax.
        advantages: (R,) A; 1 where it is left out.
        masked: Items outside the softmax of a row; a target never is.
        block: Items that are held at once.
    """
    head = Head(z, items, targets, tau=tau, masked=masked, block=block)
    grad = _gradient(head, _towards_others(head, softmax_over_items(head)))
    return grad if advantages is None else grad * advantages.to(head.dtype)[:, None]


def hvp(
    z: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    tau: float,
    advantages: Tensor | None = None,
    vector: Tensor | None = None,
    loss: Loss = "nll",
    masked: Masked | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Return the second derivative of A times the loss with respect to z, applied to a vector: (R, d) (section 4).

    H_ratio v = H_nll v - g <g, v> with g the gradient at A = 1.

    Args:
        z: (R, d), one row per rollout.
        items: (M, d), unit rows.
        targets: (R,), item numbers.
        tau: Temperature of the softmax.
        advantages: (R,) A; 1 where it is left out.
        vector: (R, d); the gradient of the same loss where it is left out.
        loss: Which of the two.
        masked: Items outside the softmax of a row; a target never is.
        block: Items that are held at once.
    """
    head = Head(z, items, targets, tau=tau, masked=masked, block=block)
    softmax = softmax_over_items(head)
    scale = torch.ones_like(head.norm) if advantages is None else advantages.to(head.dtype)[:, None]
    v = scale * _gradient(head, _towards_others(head, softmax)) if vector is None else vector.to(head.dtype)
    return scale * _hvp(head, softmax, v, loss)


def gradient_and_hvp(head: Head, softmax: Softmax, advantages: Tensor, *, loss: Loss = "nll") -> tuple[Tensor, Tensor]:
    """Return A g and its Hessian-vector product A H (A g) = A^2 H g, given the softmax: 2 x (R, d)."""
    scale = advantages.to(head.dtype)[:, None]
    grad = _gradient(head, _towards_others(head, softmax))
    return scale * grad, scale.square() * _hvp(head, softmax, grad, loss)


def _towards_others(head: Head, softmax: Softmax) -> Tensor:
    """a = E^T (p - e_y) = (1 - p_y) (mean of the others - e_y), (R, d): exact also where p_y is nearly 1."""
    share = torch.exp(softmax.log_others - softmax.log_total).to(head.dtype)
    return share * (softmax.mean_other - head.target_vectors)


def _gradient(head: Head, a: Tensor) -> Tensor:
    return (a - head.u * _dot(head.u, a)) / (head.tau * head.norm)


def _hvp(head: Head, softmax: Softmax, v: Tensor, loss: Loss) -> Tensor:
    u, norm, tau = head.u, head.norm, head.tau
    a = _towards_others(head, softmax)
    grad = _gradient(head, a)
    along = _dot(u, v)
    du = (v - u * along) / norm
    da = _change(head, softmax, a, du)
    turned = da - du * _dot(u, a) - u * (_dot(du, a) + _dot(u, da))
    product = turned / (tau * norm) - grad * along / norm
    return product if loss == "nll" else product - grad * _dot(grad, v)


def _change(head: Head, softmax: Softmax, a: Tensor, du: Tensor) -> Tensor:
    """Derivative of a along du, E^T (p * (ds - <p, ds>)) (R, d), in one more pass over the catalogue.

    With scores counted from the target's, <p, ds> is <a, du> / tau and the target's own term is -p_y times that.
    """
    mean_slope = _dot(a, du) / head.tau
    target_slope = _dot(head.target_vectors, du) / head.tau
    target_share = torch.exp(head.target_scores.double() - softmax.log_total).to(head.dtype)
    change = torch.zeros_like(a, dtype=torch.float64)
    log_total = softmax.log_total.to(head.dtype)
    for vectors, scores in head.others():
        slope = (du @ vectors.T).div_(head.tau).sub_(target_slope + mean_slope)
        change += (slope.mul_(scores.sub_(log_total).exp_()) @ vectors).double()
    return change.to(head.dtype) - target_share * mean_slope * head.target_vectors


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(1, keepdim=True)
