"""What to expect of a selection against a random one of the same size, before anything is trained on it.

The numbers are those of docs/results.md: training runs of a small model on public interactions. They are few, and say
which sign to expect rather than how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Outlook:
    """Differences in NDCG over the full rank between policies trained on our picks and on as many random ones."""

    gain: float
    """Mean over sets."""
    low: float
    high: float
    """Where the mean of another set lies with 95 % probability, as far as so few sets tell; of one set alone, where its
    own mean lies."""
    sets: int
    runs: int
    """Pairs of training runs behind it."""


MUCH_GATED: Final = 0.1
"""Share of the pool that the gate sets aside from which a selection had something to save."""
WHERE_MUCH_IS_GATED: Final = Outlook(gain=0.0072, low=0.0050, high=0.0094, sets=1, runs=5)
WHERE_LITTLE_IS_GATED: Final = Outlook(gain=-0.0055, low=-0.0464, high=0.0353, sets=4, runs=28)


def outlook(gated_share: float) -> Outlook:
    """Return what pools of which the gate sets aside this share have led to, with the default settings."""
    return WHERE_MUCH_IS_GATED if gated_share >= MUCH_GATED else WHERE_LITTLE_IS_GATED


def outlook_text(found: Outlook) -> str:
    """Say in a sentence or two what to expect and what to do."""
    sets = f"{found.sets} set{'s' if found.sets > 1 else ''}"
    span = f"{found.gain:+.3f} NDCG ({found.low:+.3f} to {found.high:+.3f}; {sets}, {found.runs} runs)"
    if found.low > 0:
        return (
            "on the one set like this, which the settings were made on, policies trained on the picks beat those "
            f"trained on random ones by {span}"
        )
    return (
        f"no gain over a random choice is to be expected: the gate sets aside less than {MUCH_GATED:.0%} of the pool, "
        f"and on such pools the difference was {span}. A random subset of this size costs nothing to choose"
    )
