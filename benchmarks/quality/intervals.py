"""Paired bootstrap: how far a comparison of two arms would move with other seeds and other test samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean, and the interval that holds 95 % of the bootstrap's means."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: FloatArray) -> Interval:
        low, high = np.quantile(drawn, [0.025, 0.975])
        return cls(float(value), float(low), float(high))


class Bootstrap:
    """Draws of seeds and test samples with replacement, the same ones for every arm: differences stay paired."""

    def __init__(self, seeds: int, samples: int, *, draws: int = 4000, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self._seeds = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        """(draws, seeds) weights."""
        self._samples = draw.multinomial(samples, np.full(samples, 1 / samples), size=draws) / samples

    def means(self, values: FloatArray) -> FloatArray:
        """Mean of values (seeds, samples) in every draw, (draws,)."""
        return np.asarray(((self._seeds @ values) * self._samples).sum(axis=1))

    def mean(self, values: FloatArray) -> Interval:
        """The mean of an arm."""
        return Interval.of(values.mean(), self.means(values))

    def difference(self, values: FloatArray, others: FloatArray) -> Interval:
        """How much larger an arm's mean is than another's."""
        return self.mean(values - others)

    def ratio(self, values: FloatArray, others: FloatArray) -> Interval:
        """Return an arm's mean as a part of another's, NaN where that is 0.

        Draws of a few samples may have none that the other arm ranks: they have no ratio, and are left out.
        """
        if not others.any():
            return Interval(np.nan, np.nan, np.nan)
        parts, wholes = self.means(values), self.means(others)
        return Interval.of(values.mean() / others.mean(), parts[wholes > 0] / wholes[wholes > 0])


def ndcg_of(ranks: npt.ArrayLike, k: int) -> FloatArray:
    """NDCG@k of one relevant item at each of these 1-based ranks."""
    rank = np.asarray(ranks, dtype=np.float64)
    return np.where(rank <= k, 1 / np.log2(rank + 1), 0.0)
