"""What to expect of a selection against a random one of the same size, before anything is trained on it.

The numbers are those of docs/results.md (`python -m benchmarks.quality.outlook` prints them): training runs of a small
model on public interactions. They are few, and say which sign to expect rather than how much.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Outlook:
    """Differences in NDCG over the full rank between policies trained on our picks and on as many random ones."""

    gain: float
    """Mean over sets."""
    low: float
    high: float
    """Where the mean of another set lies with 95 % probability, as far as so few sets tell."""
    sets: int
    runs: int
    """Pairs of training runs behind it."""


BOUNDS: Final = (0.1, 0.5)
"""Shares of the pool that the gate sets aside between which outlooks differ."""
BY_GATED_SHARE: Final = (
    Outlook(gain=0.0008, low=-0.0039, high=0.0056, sets=4, runs=40),
    Outlook(gain=0.0, low=-0.0053, high=0.0052, sets=4, runs=40),
    Outlook(gain=0.0023, low=-0.0066, high=0.0113, sets=4, runs=40),
)


def outlook(gated_share: float) -> Outlook:
    """Return what pools of which the gate sets aside this share have led to, with the default settings."""
    return BY_GATED_SHARE[bisect_right(BOUNDS, gated_share)]


def outlook_text(found: Outlook, *, random_wasted: float, picked_wasted: float) -> str:
    """Say in a few sentences what to expect and what to do.

    Args:
        found: The outlook.
        random_wasted: Share of the pool, and so of a random choice, that the gate sets aside.
        picked_wasted: The same of the picks.
    """
    span = f"{found.gain:+.4f} NDCG ({found.low:+.4f} to {found.high:+.4f}; {found.sets} sets, {found.runs} runs)"
    saved = (
        f"a random choice of this size would spend {random_wasted:.0%} of its rollouts on samples that gave no signal "
        f"here, this one {picked_wasted:.0%}"
    )
    if found.low > 0:
        return f"{saved}. On such pools policies trained on the picks were better than on random ones by {span}"
    if found.high < 0:
        return f"on such pools policies trained on the picks were worse than on random ones by {span}"
    if random_wasted < BOUNDS[0]:
        return (
            "no gain over a random choice is to be expected: nearly every sample gives a signal, and on such pools "
            f"the difference was {span}. A random subset of this size costs nothing to choose"
        )
    return (
        f"{saved}. How good a policy it makes cannot be told beforehand: the difference to random picks was {span}. "
        "Train a random subset of this size beside it before you spend a budget on either"
    )
