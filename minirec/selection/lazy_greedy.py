"""The diverse choice, exact and lazy: only rows whose bound can still win are looked at again."""

from __future__ import annotations

from typing import Final

import numpy as np

from minirec.selection.bounds import Bounds
from minirec.selection.checks import BoolArray, FloatArray, IndexArray
from minirec.selection.rows import Rows

TIE: Final = 1e-12
"""Keys this close to the largest, relative to it, are tied; keys at or below it are exhausted."""
NOISE: Final = 1e-15
"""Distances this close cannot be told apart in float64, and are tied as well."""
POOL: Final = 512
"""Rows among which choices are made until a row outside could win."""
SAMPLE: Final = 65_536
"""Bounds looked at to guess the level above which a given number of them lie."""


class LazyGreedy:
    """Chooses rows one by one, each the one with the largest score times distance to those chosen before it."""

    def __init__(self, rows: Rows, scores: FloatArray, k: int) -> None:
        self._scores = scores
        self._bounds = Bounds(rows, scores, k)
        self._noise = NOISE * float(scores.max())
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
        bounds.admit(np.flatnonzero(waiting))
        while bounds.n_centres < goal:
            pool, floor = self._pool()
            best = float(bounds.keys[pool].max(initial=0.0))
            if best < floor:
                pool, floor, best = self._exact_pool(best)
            if best <= TIE:
                self._choose_rest(goal)
            else:
                self._choose_from(pool, floor, goal)

    def _tie_line(self, best: float) -> float:
        """Keys from here up are tied with the best one."""
        return best * (1 - TIE) - self._noise

    def _floor(self, outside: float) -> float:
        """Keys from here up are not tied with any that is at most `outside`."""
        return (outside + self._noise) / (1 - TIE)

    def _pool(self) -> tuple[IndexArray, float]:
        """The rows with the largest keys, exact, and how large one must be to win over all rows outside."""
        bounds, want = self._bounds, 2 * POOL
        while True:
            level = self._level(want)
            rows = np.flatnonzero(bounds.keys > level)
            self._refresh(rows, level)
            current = np.flatnonzero(bounds.seen[rows] == bounds.n_centres)
            if level <= 0 or np.count_nonzero(bounds.keys[rows[current]] > level) >= POOL:
                break
            want *= 4
        keys = bounds.keys[rows]
        places = current[_largest(keys[current], POOL)]
        pool = rows[places]
        keys[places] = -1
        bounds.resolve(pool)
        return pool, self._floor(float(keys.max(initial=level)))

    def _level(self, want: int) -> float:
        """A level above which about `want` keys lie; 0 if there are not so many."""
        keys = self._bounds.keys
        sample = keys[:: max(1, keys.size // SAMPLE)]
        above = round(want * sample.size / keys.size)
        return 0.0 if above >= sample.size else max(0.0, float(np.partition(sample, -above - 1)[-above - 1]))

    def _refresh(self, rows: IndexArray, level: float) -> None:
        """Bring the rows up to date, largest bound first, until no stale bound reaches the best `POOL` current ones."""
        bounds = self._bounds
        is_current = bounds.seen[rows] == bounds.n_centres
        current, stale = bounds.keys[rows[is_current]], rows[~is_current]
        stale = stale[np.argsort(-bounds.keys[stale], kind="stable")]
        for start in range(0, stale.size, POOL):
            current = current[_largest(current, POOL)]
            threshold = max(level, float(current.min())) if current.size == POOL else level
            if bounds.keys[stale[start]] <= threshold:
                return
            part = stale[start : start + POOL]
            bounds.refresh(part, threshold)
            current = np.concatenate([current, bounds.keys[part[bounds.seen[part] == bounds.n_centres]]])

    def _exact_pool(self, best: float) -> tuple[IndexArray, float, float]:
        """The same, and the largest key, where bounds are too coarse to tell who wins: with every contender exact."""
        bounds = self._bounds
        is_contender = bounds.keys >= max(self._tie_line(best), np.finfo(float).tiny)
        contenders = np.flatnonzero(is_contender)
        others = float(bounds.keys[~is_contender].max(initial=0.0))
        bounds.refresh(contenders[bounds.seen[contenders] < bounds.n_centres], -1.0)
        bounds.resolve(contenders)
        keys = bounds.keys[contenders]
        best = float(keys.max(initial=0.0))
        levelled = np.where(keys >= self._tie_line(best), best, keys)
        order = np.lexsort((contenders, -self._scores[contenders], -levelled))
        outside = float(levelled[order[POOL:]].max(initial=others))
        # More tied rows than the pool holds: those in it come before those outside, for as long as they stay tied.
        floor = self._tie_line(best) if outside == best else min(best, self._floor(outside))
        return np.sort(contenders[order[:POOL]]), floor, best

    def _choose_from(self, pool: IndexArray, floor: float, goal: int) -> None:
        """Choose from the pool until the largest key falls below `floor`."""
        bounds = self._bounds
        pool = pool[np.lexsort((pool, -self._scores[pool]))]  # of tied rows the first one wins
        units, scores, nearest = bounds.units(pool), self._scores[pool], bounds.exact[pool]
        distances = np.maximum(1 - units @ units.T, 0)
        np.fill_diagonal(distances, 0)
        keys = scores * nearest
        chosen: list[int] = []
        n_before = bounds.n_centres
        while n_before + len(chosen) < goal:
            winner = int(keys.argmax())
            largest = keys[winner]
            if largest <= TIE or largest < floor:
                break
            line = self._tie_line(largest)
            keys[winner] = -1
            if keys.max() >= line:
                winner = min(winner, int((keys >= line).argmax()))
            self.distances[n_before + len(chosen)] = nearest[winner]
            chosen.append(winner)
            np.minimum(nearest, distances[winner], out=nearest)
            np.multiply(nearest, scores, out=keys)
        bounds.add_centres(pool[chosen], units[chosen])
        left = np.delete(np.arange(pool.size), chosen)
        bounds.settle(pool[left], nearest[left])

    def _choose_rest(self, goal: int) -> None:
        """Diversity is exhausted: choose by score, then position."""
        bounds = self._bounds
        waiting = np.flatnonzero(bounds.keys >= 0)
        best_first = waiting[np.argsort(-self._scores[waiting], kind="stable")][: goal - bounds.n_centres]
        for begin in range(0, best_first.size, POOL):
            part = best_first[begin : begin + POOL]
            bounds.refresh(part, -1.0)
            bounds.resolve(part)
            units = bounds.units(part)
            among_themselves = np.where(np.tri(part.size, k=-1, dtype=bool), 1 - units @ units.T, 2.0).min(axis=1)
            n_before = bounds.n_centres
            self.distances[n_before : n_before + part.size] = np.minimum(
                bounds.exact[part], np.maximum(among_themselves, 0)
            )
            bounds.add_centres(part, units)


def _largest(values: FloatArray, count: int) -> IndexArray:
    """Positions of the `count` largest values, in ascending order of position."""
    if values.size <= count:
        return np.arange(values.size)
    return np.sort(np.argpartition(values, -count)[-count:])
