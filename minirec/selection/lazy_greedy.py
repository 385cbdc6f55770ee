"""The diverse choice, exact and lazy: only rows whose bound can still win are looked at again."""

from __future__ import annotations

from typing import Final

import numpy as np

from minirec.selection.bounds import ROUNDING, Bounds
from minirec.selection.checks import BoolArray, FloatArray, IndexArray
from minirec.selection.rows import Double, Rows

TIE: Final = 1e-12
"""Keys this close to the largest, relative to it, are tied; keys at or below it are exhausted."""
POOL: Final = 256
"""Rows among which choices are made until a row outside could win."""
BATCH: Final = 1024
"""Rows whose bounds are brought up to date together."""
SHORTLIST: Final = 16_384
"""Rows looked at in search of a pool before all of them are."""
SAMPLE: Final = 65_536
"""Bounds looked at to guess the level above which a given number of them lie."""


class LazyGreedy:
    """Chooses rows one by one, each the one with the largest score times distance to those chosen before it."""

    def __init__(self, rows: Rows, scores: FloatArray, k: int) -> None:
        self._scores = scores
        self._bounds = Bounds(rows, scores, k)
        self._rounding = ROUNDING * float(scores.max())
        """Largest difference between keys that rounding can make."""
        self._level = np.inf
        """No row outside the shortlist has a larger bound."""
        self._shortlist: IndexArray = np.empty(0, dtype=np.int64)
        self.distances: FloatArray = np.full(k, np.inf)

    @property
    def indices(self) -> IndexArray:
        """The rows chosen so far."""
        return self._bounds.centres[: self._bounds.n_centres]

    def choose(self, among: BoolArray, count: int) -> None:
        """Choose `count` more rows, all from those marked in `among` (N,)."""
        bounds = self._bounds
        goal = bounds.n_centres + count
        if bounds.n_centres == 0:
            bounds.start(int(np.argmax(np.where(among, self._scores, -1.0))))
        waiting = among.copy()
        waiting[self.indices] = False
        bounds.admit(waiting)
        self._level, self._shortlist = np.inf, np.empty(0, dtype=np.int64)
        while bounds.n_centres < goal:
            pool, units, floor = self._pool()
            best = float(bounds.keys[pool].max(initial=0.0))
            if best < floor:
                pool, units, floor, best = self._exact_pool(best)
            if best <= TIE:
                self._choose_rest(goal)
            else:
                self._choose_from(pool, units, floor, goal)

    def _floor(self, outside: float) -> float:
        """Keys from here up are not tied with any that is at most `outside`, and rounding cannot change that."""
        return (outside + self._rounding) / (1 - TIE)

    def _pool(self) -> tuple[IndexArray, Double, float]:
        """The rows with the largest keys, exact; their unit rows; how large a key wins over all rows outside."""
        bounds = self._bounds
        want = SHORTLIST // 4
        while True:
            rows = self._shortlist = self._shortlist[bounds.keys[self._shortlist] > self._level]
            self._refresh(rows)
            current = np.flatnonzero(bounds.seen[rows] == bounds.n_centres)
            if self._level == 0 or np.count_nonzero(bounds.keys[rows[current]] > self._level) >= POOL:
                break
            want = 4 * max(want, rows.size)
            self._lower_level(want)
        keys = bounds.keys[rows]
        places = current[_largest(keys[current], POOL)]
        pool = rows[places]
        keys[places] = -1
        units = bounds.units(pool)
        bounds.resolve_units(pool, units)
        return pool, units, self._floor(float(keys.max(initial=self._level)))

    def _lower_level(self, want: int) -> None:
        """Make the shortlist anew, of about the `want` rows with the largest bounds."""
        keys = self._bounds.keys
        sample = keys[:: max(1, keys.size // SAMPLE)]
        above = want * sample.size // keys.size
        level = np.partition(sample, -above - 1)[-above - 1] if above < sample.size else 0.0
        self._level = max(0.0, min(float(level), self._level))
        self._shortlist = np.flatnonzero(keys > self._level)

    def _refresh(self, rows: IndexArray) -> None:
        """Bring the rows up to date, largest bound first, until no stale bound reaches the best `POOL` current ones."""
        bounds = self._bounds
        is_stale = bounds.seen[rows] < bounds.n_centres
        stale, current = rows[is_stale], bounds.keys[rows[~is_stale]]
        first = _largest(bounds.keys[stale], BATCH)
        batch, stale = stale[first], np.delete(stale, first)
        is_sorted = False
        while batch.size:
            threshold = self._threshold(current)
            bounds.refresh(batch, threshold)
            current = np.concatenate([current, bounds.keys[batch[bounds.seen[batch] == bounds.n_centres]]])
            current = current[_largest(current, POOL)]
            stale = stale[bounds.keys[stale] > self._threshold(current)]
            if not is_sorted:
                stale, is_sorted = stale[np.argsort(-bounds.keys[stale], kind="stable")], True
            batch, stale = stale[:BATCH], stale[BATCH:]

    def _threshold(self, current: FloatArray) -> float:
        """Rows whose bound is no larger than this are not among the `POOL` best."""
        return max(self._level, float(current.min())) if current.size >= POOL else self._level

    def _exact_pool(self, best: float) -> tuple[IndexArray, Double, float, float]:
        """The same, and the largest key, where bounds are too coarse to tell who wins: with every contender exact."""
        bounds = self._bounds
        is_contender = bounds.keys >= max(best * (1 - TIE) - self._rounding, np.finfo(float).tiny)
        contenders = np.flatnonzero(is_contender)
        others = float(bounds.keys[~is_contender].max(initial=0.0))
        bounds.refresh(contenders[bounds.seen[contenders] < bounds.n_centres], -1.0)
        bounds.resolve(contenders)
        keys = bounds.keys[contenders]
        best = float(keys.max(initial=0.0))
        tied = keys >= best * (1 - TIE)
        order = np.lexsort((contenders, -self._scores[contenders], np.where(tied, -best, -keys)))
        if np.count_nonzero(tied) > POOL:
            floor = best * (1 - TIE)  # those in the pool come before those outside, for as long as they stay tied
        else:
            floor = min(best, self._floor(float(keys[order[POOL:]].max(initial=others))))
        pool = contenders[order[:POOL]]
        return pool, bounds.units(pool), floor, best

    def _choose_from(self, pool: IndexArray, units: Double, floor: float, goal: int) -> None:
        """Choose from the pool until the largest key falls below `floor`."""
        bounds = self._bounds
        order = np.lexsort((pool, -self._scores[pool]))  # of tied rows the first one wins
        pool, units = pool[order], units[order]
        scores, nearest = self._scores[pool], bounds.exact[pool]
        distances = units @ units.T
        np.subtract(1, distances, out=distances)
        distances[distances < ROUNDING] = 0
        keys = scores * nearest
        chosen: list[int] = []
        n_before = bounds.n_centres
        while n_before + len(chosen) < goal:
            winner = int(keys.argmax())
            largest = keys[winner]
            if largest <= TIE or largest < floor:
                break
            keys[winner] = -1
            if keys.max() >= largest * (1 - TIE) - self._rounding:
                keys[winner] = largest
                is_equal = (distances[winner] == 0) & (nearest >= nearest[winner] - ROUNDING)
                is_equal &= scores == scores[winner]
                winner = int(np.argmax((keys >= largest * (1 - TIE)) | is_equal))
            self.distances[n_before + len(chosen)] = nearest[winner]
            chosen.append(winner)
            np.minimum(nearest, distances[winner], out=nearest)
            nearest[winner] = -np.inf
            np.multiply(nearest, scores, out=keys)
        bounds.add_centres(pool[chosen], units[chosen])
        left = np.delete(np.arange(pool.size), chosen)
        bounds.settle(pool[left], nearest[left])

    def _choose_rest(self, goal: int) -> None:
        """Diversity is exhausted: choose by score, then position."""
        bounds = self._bounds
        waiting = np.flatnonzero(bounds.keys >= 0)
        best_first = waiting[np.argsort(-self._scores[waiting], kind="stable")][: goal - bounds.n_centres]
        for begin in range(0, best_first.size, BATCH):
            part = best_first[begin : begin + BATCH]
            bounds.refresh(part, -1.0)
            bounds.resolve(part)
            units = bounds.units(part)
            earlier = np.tri(part.size, k=-1, dtype=bool)
            among_themselves = np.where(earlier, 1 - units @ units.T, np.inf).min(axis=1)
            distances = np.minimum(bounds.exact[part], among_themselves)
            distances[distances < ROUNDING] = 0
            self.distances[bounds.n_centres : bounds.n_centres + part.size] = distances
            bounds.add_centres(part, units)


def _largest(values: FloatArray, count: int) -> IndexArray:
    """Positions of the `count` largest values, in ascending order of position."""
    if values.size <= count:
        return np.arange(values.size)
    return np.sort(np.argpartition(values, -count)[-count:])
