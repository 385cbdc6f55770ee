"""What is known of every row during a greedy choice: an upper bound on its key, and how current that is.

The key of a row is its score times its distance to the nearest centre (a row already chosen). Centres only make it
fall, so a key against some of the centres is an upper bound on the key against all of them. Rows are bounded in
float32, less the error that a float32 dot product can make; the few that may win are settled in float64. For that it
mostly takes a single product: the one with the centre that was nearest in float32, unless the second nearest was so
close that rounding may have swapped the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minirec.selection.checks import BoolArray, FloatArray, IndexArray
from minirec.selection.rows import Double, Rows, Single

CENTRE_BLOCK = 256
"""Centres multiplied at once, after which rows that can no longer win are let go."""
CHUNK_BYTES = 2**23
"""Size in float32 of the rows that are gathered at once."""
ROUNDING = 1e-14
"""Distances below this are zero as far as float64 can tell."""
NORMS = (1e-18, 1e18)
"""Norms for which float32 dot products neither overflow nor lose their error bound to underflow."""


class Bounds:
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
        """ValueError for the first row whose norm is out of range."""
        row = block.start + int(np.flatnonzero(~((norms > NORMS[0]) & (norms < NORMS[1])))[0])
        values = self.rows.double(slice(row, row + 1))
        if not np.isfinite(values).all():
            raise ValueError(f"{self.rows.name}: row {row} has NaN or infinity")
        if not values.any():
            raise ValueError(f"{self.rows.name}: row {row} is all zeros and has no direction")
        raise ValueError(f"{self.rows.name}: row {row} has a norm outside {NORMS[0]:g} to {NORMS[1]:g}")

    def admit(self, waiting: BoolArray) -> None:
        """Let the rows marked in `waiting` (N,), and no others, take part."""
        self.keys[:] = self._bound(slice(None))
        self.keys[~waiting] = -1.0

    def _bound(self, which: IndexArray | slice) -> FloatArray:
        """Keys by the larger distance that float32 allows and the exact one to older centres."""
        allowed = 1 - np.minimum(self._dot[which] - self._error, 1)
        return np.asarray(np.minimum(self.exact[which], allowed) * self.scores[which])

    def units(self, which: IndexArray) -> Double:
        """Those rows in float64, of length 1."""
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
            self._note_dots(which, part @ self._units[start:stop].T, start)
            self.seen[which] = np.maximum(self.seen[which], stop)
            self.keys[which] = self._bound(which)
            start = stop
            alive = self.keys[which] > threshold
            if np.count_nonzero(alive) < 0.7 * which.size:
                part, which = part[alive], which[alive]

    def _note_dots(self, which: IndexArray, dots: Single, start: int) -> None:
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
        """The same for rows whose unit rows are at hand."""
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
        """Distances to the nearest of all centres, each product in float64."""
        distances = self.exact[which]
        for start in range(int(self.exact_seen[which].min()), self.n_centres, CENTRE_BLOCK):
            centres = self.units(self.centres[start : min(start + CENTRE_BLOCK, self.n_centres)])
            distances = np.minimum(distances, 1 - (units @ centres.T).max(axis=1))
        return distances

    def settle(self, which: IndexArray, distances: FloatArray) -> None:
        """Note the exact distances of these rows to the nearest of all centres."""
        self.exact[which] = distances
        self.exact_seen[which] = self.n_centres
        self.seen[which] = self.n_centres
        self._nearest[which] = -1
        self._dot[which] = -np.inf
        self._second_dot[which] = -np.inf
        self.keys[which] = self.scores[which] * distances
