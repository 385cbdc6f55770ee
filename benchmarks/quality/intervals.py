"""How far a mean over training runs may lie from the truth: Student's t over runs, the unit that varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

T_975: Final = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
"""97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; 2.131 is a little too wide beyond."""
POWER: Final = 0.84
"""Normal quantile of a power of 80 %."""


@dataclass(frozen=True)
class Interval:
    """A mean over runs with its 95 % interval."""

    mean: float
    low: float
    high: float
    deviation: float
    """Standard deviation of a single run."""
    runs: int


def over_runs(values: Sequence[float]) -> Interval:
    """Return the mean of at least two runs with the interval of Student's t."""
    runs = len(values)
    if runs < 2:
        raise ValueError("an interval takes at least two runs")
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = quantile(runs) * deviation / runs**0.5
    return Interval(mean, mean - half, mean + half, deviation, runs)


def detectable(deviation: float, runs: int) -> float:
    """Return the difference that so many paired runs find significant (5 %, two-sided) four times out of five."""
    return float((quantile(runs) + POWER) * deviation / runs**0.5)


def quantile(runs: int) -> float:
    """Return the 97.5 % quantile of Student's t for the mean of so many runs."""
    return T_975[min(runs - 1, len(T_975)) - 1]
