"""The diverse choice, exact and lazy: only rows whose bound can still win are looked at again.

`LazyGreedy` makes the choice; `_Bounds` holds what is known of every row: an upper bound on its key, and how current
that is. The key of a row is its score times its distance to the nearest centre (a row already chosen). Centres only
make it fall, so a key against some of the centres is an upper bound on the key against all of them. Rows are bounded
in float32, less the error that a float32 dot product can make; the few that may win are settled in float64. For that
it mostly takes a single product: the one with the centre that was nearest in float32, unless the second nearest was so
close that rounding may have swapped the two.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import BoolArray, FloatArray, IndexArray, RowError
from minirec.selection.rows import Double, Rows, Single
from minirec.selection.strata import Quotas

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
CENTRE_BLOCK: Final = 256
"""Centres multiplied at once, after which rows that can no longer win are let go."""
CHUNK_BYTES: Final = 2**23
"""Size in float32 of the rows that are gathered at once."""
ROUNDING: Final = 1e-14
"""Distances below this are zero as far as float64 can tell."""
NORMS: Final = (1e-18, 1e18)
"""Norms for which float32 dot products neither overflow nor lose their error bound to underflow."""


class _Bounds:
    """Upper bounds on the keys of N rows against a growing list of centres.

    Memory beside the rows: 44 bytes for each of them, and the centres in float32.
    """

    def __init__(self, rows: Rows, scores: FloatArray, k: int) -> None:
        self.rows, self.scores = rows, scores
        self.centres: IndexArray = np.empty(k, dtype=np.int64)
        self.n_centres = 0
        self._units: Single = np.empty((k, rows.d), dtype=np.float32)
        # gamma_d for the dot product, half of it for the norm, the rest for rounding the row, the centre and products.
        self._error = np.float32((1.5 * rows.d + 16) * 2.0**-24)

        self.keys: FloatArray = np.empty(rows.n)
        """Upper bounds; -1 for rows that take no part (any more)."""
        self.exact: FloatArray = np.full(rows.n, 2.0)
        """Float64 distance to the nearest of the first `exact_seen` centres."""
        self.exact_seen: npt.NDArray[np.int32] = np.zeros(rows.n, dtype=np.int32)
        self.seen: npt.NDArray[np.int32] = np.ones(rows.n, dtype=np.int32)
        """How many of the centres the bound knows."""
        # Of the centres from `exact_seen` to `seen`: the nearest, its float32 dot product, and the second nearest's.
        self._nearest: npt.NDArray[np.int32] = np.zeros(rows.n, dtype=np.int32)
        self._dot: Single = np.empty(rows.n, dtype=np.float32)
        self._second_dot: Single = np.full(rows.n, -np.inf, dtype=np.float32)
        self._inverse_norms: Single = np.empty(rows.n, dtype=np.float32)

    def start(self, first: int) -> None:
        """Make row `first` the first centre: norms, checks and first bounds in one reading of the rows."""
        with np.errstate(all="ignore"):  # rows at fault are named below
            self.add_centres(np.array([first]), self.units(np.array([first])))
            for block in self.rows.blocks():
                part = self.rows.single(block)
                norms = np.sqrt(np.einsum("ij,ij->i", part, part))
                if not (norms.min() > NORMS[0] and norms.max() < NORMS[1]):
                    self._refuse(block, norms)
                self._inverse_norms[block] = 1 / norms
                self._dot[block] = (part @ self._units[0]) * self._inverse_norms[block]

    def _refuse(self, block: slice, norms: Single) -> None:
        """Raise RowError for the first row whose norm is out of range."""
        row = block.start + int(np.flatnonzero(~((norms > NORMS[0]) & (norms < NORMS[1])))[0])
        values = self.rows.double(slice(row, row + 1))
        if not np.isfinite(values).all():
            raise RowError(self.rows.name, row, "has NaN or infinity")
        if not values.any():
            raise RowError(self.rows.name, row, "is all zeros and has no direction")
        raise RowError(self.rows.name, row, f"has a norm outside {NORMS[0]:g} to {NORMS[1]:g}")

    def admit(self, waiting: BoolArray) -> None:
        """Let the rows marked in `waiting` (N,), and no others, take part."""
        self.keys[:] = self._bound(slice(None))
        self.keys[~waiting] = -1.0

    def _bound(self, which: IndexArray | slice) -> FloatArray:
        """Return keys by the larger distance that float32 allows and the exact one to older centres."""
        allowed = 1 - np.minimum(self._dot[which] - self._error, 1)
        return np.asarray(np.minimum(self.exact[which], allowed) * self.scores[which])

    def units(self, which: IndexArray) -> Double:
        """Return those rows in float64, of length 1."""
        part = self.rows.double(which)
        part /= np.sqrt(np.einsum("ij,ij->i", part, part))[:, None]
        return part

    def add_centres(self, which: IndexArray, units: Double) -> None:
        """Append chosen rows."""
        new = slice(self.n_centres, self.n_centres + which.size)
        self.centres[new] = which
        self._units[new] = units
        self.n_centres = new.stop
        self.keys[which] = -1

    def refresh(self, which: IndexArray, threshold: float) -> None:
        """Bring the bounds of these rows up to date in float32; those that fall to `threshold` may stay behind."""
        chunk = max(256, CHUNK_BYTES // (4 * self.rows.d))
        for begin in range(0, which.size, chunk):
            self._refresh_chunk(which[begin : begin + chunk], threshold)

    def _refresh_chunk(self, which: IndexArray, threshold: float) -> None:
        part = self.rows.single(which)
        start = int(self.seen[which].min())
        while start < self.n_centres and which.size:
            stop = min(start + CENTRE_BLOCK, self.n_centres)
            self._record_dots(which, part @ self._units[start:stop].T, start)
            self.seen[which] = np.maximum(self.seen[which], stop)
            self.keys[which] = self._bound(which)
            start = stop
            alive = self.keys[which] > threshold
            if np.count_nonzero(alive) < 0.7 * which.size:
                part, which = part[alive], which[alive]

    def _record_dots(self, which: IndexArray, dots: Single, start: int) -> None:
        """Merge the dot products of these rows (not divided by their norms) with the centres from `start` on."""
        rows = np.arange(which.size)
        column = dots.argmax(axis=1)
        inverse_norms = self._inverse_norms[which]
        dot = dots[rows, column] * inverse_norms
        dots[rows, column] = -np.inf
        second = np.maximum(dots[rows, dots.argmax(axis=1)] * inverse_norms, self._second_dot[which])
        nearest, old_nearest, old_dot = column + start, self._nearest[which], self._dot[which]
        # Rows may meet centres again that they know: the nearest is then no second nearest.
        second = np.where(nearest == old_nearest, second, np.maximum(second, np.minimum(dot, old_dot)))
        self._second_dot[which] = second
        self._nearest[which] = np.where(dot > old_dot, nearest, old_nearest)
        self._dot[which] = np.maximum(dot, old_dot)

    def resolve(self, which: IndexArray) -> None:
        """Compute the keys of these rows, whose bounds are current, exactly."""
        which = which[self.exact_seen[which] < self.n_centres]
        chunk = max(256, CHUNK_BYTES // (8 * self.rows.d))
        for begin in range(0, which.size, chunk):
            part = which[begin : begin + chunk]
            self.resolve_units(part, self.units(part))

    def resolve_units(self, which: IndexArray, units: Double) -> None:
        """Do the same for rows whose unit rows are at hand."""
        nearest = self._nearest[which]
        distances = self.exact[which]
        known = np.flatnonzero(nearest >= 0)
        if known.size:
            theirs = self.units(self.centres[nearest[known]])
            distances[known] = np.minimum(distances[known], 1 - np.einsum("ij,ij->i", units[known], theirs))
        unclear = np.flatnonzero(1 - (self._second_dot[which].astype(np.float64) + self._error) < distances)
        if unclear.size:
            distances[unclear] = self._exact_distances(which[unclear], units[unclear])
        distances[distances < ROUNDING] = 0
        self.settle(which, distances)

    def _exact_distances(self, which: IndexArray, units: Double) -> FloatArray:
        """Return distances to the nearest of all centres, each product in float64."""
        distances = self.exact[which]
        for start in range(int(self.exact_seen[which].min()), self.n_centres, CENTRE_BLOCK):
            centres = self.units(self.centres[start : min(start + CENTRE_BLOCK, self.n_centres)])
            distances = np.minimum(distances, 1 - (units @ centres.T).max(axis=1))
        return distances

    def settle(self, which: IndexArray, distances: FloatArray) -> None:
        """Record the exact distances of these rows to the nearest of all centres."""
        self.exact[which] = distances
        self.exact_seen[which] = self.n_centres
        self.seen[which] = self.n_centres
        self._nearest[which] = -1
        self._dot[which] = -np.inf
        self._second_dot[which] = -np.inf
        self.keys[which] = self.scores[which] * distances


class LazyGreedy:
    """Chooses rows one by one, each the one with the largest score times distance to those chosen before it.

    Of equal rows the one with the larger score is chosen, then the one with the smaller place in `tie_order` (N,).
    """

    def __init__(self, rows: Rows, scores: FloatArray, k: int, tie_order: IndexArray) -> None:
        self._scores = scores
        self._tie_order = tie_order
        self._bounds = _Bounds(rows, scores, k)
        self._quotas: Quotas | None = None
        self._rounding = ROUNDING * float(scores.max())
        """Largest difference between keys that rounding can make."""
        self._level = np.inf
        """No row outside the shortlist has a larger bound."""
        self._shortlist: IndexArray = np.empty(0, dtype=np.int64)
        self.distances: FloatArray = np.full(k, np.inf)
        self.n_by_score = 0
        """Rows chosen by score alone, since no distance was left to tell them apart."""

    @property
    def indices(self) -> IndexArray:
        """The rows chosen so far."""
        return self._bounds.centres[: self._bounds.n_centres]

    def choose(self, among: BoolArray, count: int, quotas: Quotas | None = None) -> None:
        """Choose `count` more rows, all from those marked in `among` (N,), and no more of a stratum than its quota."""
        bounds, self._quotas = self._bounds, quotas
        goal = bounds.n_centres + count
        waiting = among if quotas is None else among & quotas.has_room()
        if bounds.n_centres == 0:
            best = np.flatnonzero(waiting & (self._scores == self._scores[waiting].max()))
            first = int(best[self._tie_order[best].argmin()])
            bounds.start(first)
            if quotas is not None:
                quotas.take(first)
                waiting = waiting & quotas.has_room()
        waiting = waiting.copy()
        waiting[self.indices] = False
        bounds.admit(waiting)
        self._level, self._shortlist = np.inf, np.empty(0, dtype=np.int64)
        while bounds.n_centres < goal:
            pool, units, floor = self._pool()
            best_key = float(bounds.keys[pool].max(initial=0.0))
            if best_key < floor:
                pool, units, floor, best_key = self._exact_pool(best_key)
            if best_key <= TIE:
                self._choose_rest(goal)
            else:
                self._choose_from(pool, units, floor, goal)

    def _floor(self, outside: float) -> float:
        """Return the least key that is tied with none of at most `outside`, however it is rounded."""
        return (outside + self._rounding) / (1 - TIE)

    def _pool(self) -> tuple[IndexArray, Double, float]:
        """Return the rows with the largest keys, exact; their unit rows; and how large a key wins over all outside."""
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
        rising: FloatArray | None = None  # The negative bounds of `stale`, once it is sorted by them.
        while batch.size:
            threshold = self._threshold(current)
            bounds.refresh(batch, threshold)
            current = np.concatenate([current, bounds.keys[batch[bounds.seen[batch] == bounds.n_centres]]])
            current = current[_largest(current, POOL)]
            threshold = self._threshold(current)
            if rising is None:
                stale = stale[bounds.keys[stale] > threshold]
                order = np.argsort(-bounds.keys[stale])
                stale = stale[order]
                rising = -bounds.keys[stale]
            end = int(np.searchsorted(rising, -threshold))
            batch, stale, rising = stale[: min(BATCH, end)], stale[BATCH:end], rising[BATCH:end]

    def _threshold(self, current: FloatArray) -> float:
        """Return the bound up to which rows are not among the `POOL` best."""
        return max(self._level, float(current.min())) if current.size >= POOL else self._level

    def _exact_pool(self, best: float) -> tuple[IndexArray, Double, float, float]:
        """Return the same, and the largest key, with every contender exact: for bounds too coarse to tell who wins."""
        bounds = self._bounds
        is_contender = bounds.keys >= max(best * (1 - TIE) - self._rounding, np.finfo(float).tiny)
        contenders = np.flatnonzero(is_contender)
        others = float(bounds.keys[~is_contender].max(initial=0.0))
        bounds.refresh(contenders[bounds.seen[contenders] < bounds.n_centres], -1.0)
        bounds.resolve(contenders)
        keys = bounds.keys[contenders]
        best = float(keys.max(initial=0.0))
        tied = keys >= best * (1 - TIE)
        order = np.lexsort((self._tie_order[contenders], -self._scores[contenders], np.where(tied, -best, -keys)))
        if np.count_nonzero(tied) > POOL:
            floor = best * (1 - TIE)  # those in the pool come before those outside, for as long as they stay tied
        else:
            floor = min(best, self._floor(float(keys[order[POOL:]].max(initial=others))))
        pool = contenders[order[:POOL]]
        return pool, bounds.units(pool), floor, best

    def _choose_from(self, pool: IndexArray, units: Double, floor: float, goal: int) -> None:
        """Choose from the pool until the largest key falls below `floor`."""
        bounds = self._bounds
        order = np.lexsort((self._tie_order[pool], -self._scores[pool]))  # of tied rows the first one wins
        pool, units = pool[order], units[order]
        scores, nearest = self._scores[pool], bounds.exact[pool]
        distances = units @ units.T
        np.subtract(1, distances, out=distances)
        distances[distances < ROUNDING] = 0
        keys = scores * nearest
        is_free = np.ones(pool.size, dtype=bool)
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
                is_equal &= is_free & (scores == scores[winner])
                winner = int(np.argmax((keys >= largest * (1 - TIE)) | is_equal))
            self.distances[n_before + len(chosen)] = nearest[winner]
            chosen.append(winner)
            is_free[winner] = False
            if self._quotas is not None and self._quotas.take(int(pool[winner])):
                is_free &= self._quotas.has_room(pool)
            np.minimum(nearest, distances[winner], out=nearest)
            np.multiply(nearest, scores, out=keys)
            keys[~is_free] = -1
        bounds.add_centres(pool[chosen], units[chosen])
        left = np.delete(np.arange(pool.size), chosen)
        bounds.settle(pool[left], nearest[left])
        if self._quotas is not None:
            bounds.keys[~self._quotas.has_room()] = -1

    def _choose_rest(self, goal: int) -> None:
        """Choose by score, then by tie order: no distance is left to tell the rows apart."""
        bounds = self._bounds
        waiting = np.flatnonzero(bounds.keys >= 0)
        best_first = waiting[np.lexsort((self._tie_order[waiting], -self._scores[waiting]))]
        if self._quotas is not None:
            best_first = best_first[self._quotas.fitting(best_first)]
        best_first = best_first[: goal - bounds.n_centres]
        self.n_by_score += best_first.size
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
    """Return the positions of the `count` largest values, in ascending order of position."""
    if values.size <= count:
        return np.arange(values.size)
    return np.sort(np.argpartition(values, -count)[-count:])
