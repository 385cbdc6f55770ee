"""What one update on prompts did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextMetrics:
    """What one update did."""

    update: int
    """1-based."""
    epoch: int
    """1-based, of the first prompt in its batch."""
    samples_seen: int
    """Since the start, this update included."""
    loss: float
    reward_mean: float
    """Over all answers of the batch, before the step."""
    hit_rate: float
    """Share of the answers that earn something."""
    grad_norm: float
    """Before clipping."""
    dead_groups: int
    """Prompts whose answers all earn the same."""
    tokens: int
    """Tokens that the policy drew."""
    seconds: float
    """Of the whole update."""
    tokens_per_second: float
