"""Which samples an update takes: the training order, batch by batch, the last one as short as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A training order cut into batches and gone through again and again, the same way in every epoch.

    Everything follows from the number of the update, so there is no position to save.
    """

    rows: Sequence[int]
    batch_size: int

    @property
    def per_epoch(self) -> int:
        """Updates that go once through all rows."""
        return -(-len(self.rows) // self.batch_size)

    def epoch(self, update: int) -> int:
        """0-based epoch of a 0-based update."""
        return update // self.per_epoch

    def batch(self, update: int) -> Sequence[int]:
        """Return the rows of a 0-based update."""
        start = update % self.per_epoch * self.batch_size
        return self.rows[start : start + self.batch_size]

    def samples_seen(self, updates: int) -> int:
        """Return samples in the first `updates` batches, repetitions counted."""
        epochs, rest = divmod(updates, self.per_epoch)
        return epochs * len(self.rows) + rest * self.batch_size
