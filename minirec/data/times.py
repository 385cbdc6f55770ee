"""Times of samples: brought to seconds since 1970, and looked at for what cannot be right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from minirec.api_schemas.rows import SampleRow, TimestampUnit
from minirec.data.faults import Faults, shown

PER_SECOND: dict[TimestampUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
LATEST = 1e10
"""Seconds since 1970 until the year 2286. A later time is in a smaller unit: milliseconds are beyond it since 1970."""
_YEAR = 366 * 86_400

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Times:
    """Converts and checks the times of a file of samples, and says at its end what looks odd."""

    def __init__(self, unit: TimestampUnit | None, name: str, faults: Faults) -> None:
        self._unit: TimestampUnit = unit or "s"
        self.per_second = PER_SECOND[self._unit]
        """What a time of the file is divided by."""
        self._name = name
        self._faults = faults
        self._largest = 0.0
        self._rows = 0
        self._later: list[str] = []
        self._falling: list[str] = []
        self._n_later = self._n_falling = 0

    def check(self, line: int, sample: SampleRow) -> bool:
        """Convert a sample's times in place to seconds; return whether they can be times, else add a fault."""
        if sample.timestamp is None and sample.history_timestamps is None:
            return True
        if self.per_second != 1:
            sample.timestamp = self._seconds(sample.timestamp)
            if sample.history_timestamps is not None:
                sample.history_timestamps = [self._seconds(value) for value in sample.history_timestamps]
        history = [value for value in sample.history_timestamps or () if value is not None]
        fine = self._plausible(line, "timestamp", [] if sample.timestamp is None else [sample.timestamp])
        fine = self._plausible(line, "history_timestamps", history) and fine
        if fine:
            self._rows += 1
            if sample.timestamp is not None and history and max(history) > sample.timestamp:
                self._n_later += 1
                self._later = self._later or [sample.id]
            if history != sorted(history):
                self._n_falling += 1
                self._falling = self._falling or [sample.id]
        return fine

    def check_columns(self, ids: Sequence[object], at: Floats, then: Floats, sizes: Ints) -> bool:
        """Return whether all times can be times, as `check` of each sample would; if not, nothing of them is noted.

        Args:
            ids: (N,) of the samples.
            at: (N,) their timestamps in seconds, NaN where there is none.
            then: the times of all histories in seconds, one after the other, NaN where one is not known.
            sizes: (N,) how many of them each sample has, 0 if it has none.
        """
        known, known_at = ~np.isnan(then), ~np.isnan(at)
        rows, values = np.repeat(np.arange(len(ids)), sizes)[known], then[known]
        largest = max(np.abs(found).max(initial=0.0) for found in (at[known_at], values))
        if largest > LATEST:
            return False
        self._largest = max(self._largest, float(largest))
        self._rows += int(np.count_nonzero(known_at | (sizes > 0)))
        later = np.unique(rows[values > at[rows]])
        falling = np.unique(rows[1:][(np.diff(values) < 0) & (np.diff(rows) == 0)])
        self._n_later += len(later)
        self._n_falling += len(falling)
        self._later = self._later or [str(ids[row]) for row in later[:1]]
        self._falling = self._falling or [str(ids[row]) for row in falling[:1]]
        return True

    def _seconds(self, value: float | None) -> float | None:
        return None if value is None else value / self.per_second

    def _plausible(self, line: int, field: str, values: Sequence[float]) -> bool:
        """Return whether all values are times of the unit; the first that is not becomes a fault."""
        if not values:
            return True
        largest = max(max(values), -min(values))
        self._largest = max(self._largest, largest)
        if largest <= LATEST:
            return True
        bad = next(value for value in values if abs(value) > LATEST)
        self._faults.add(self._name, line, field, self._advice(bad), (field, "time"))
        return False

    def _advice(self, value: float) -> str:
        given = value * self.per_second
        text = shown(int(given) if given.is_integer() else given)
        for unit, per_second in PER_SECOND.items():
            if abs(given / per_second) <= LATEST:
                when = datetime.fromtimestamp(given / per_second, UTC).date().isoformat()
                return (
                    f"{text} is later than the year 2286 when read in {self._unit}; in {unit} it is {when}: divide by"
                    f" {per_second // self.per_second:,}, or upload with timestamp_unit {unit}"
                )
        return f"{text} is no time in seconds, milli-, micro- or nanoseconds since 1970"

    def warnings(self) -> list[str]:
        """Return what looks odd in all samples together."""
        found = []
        if self._n_later:
            found.append(
                f"{self._n_later} of {self._rows} samples have a history item that is later than the target, the first "
                f'is {shown(self._later[0])}: prompts then say "same day"; are all times of one unit and clock?'
            )
        if self._n_falling:
            found.append(
                f"{self._n_falling} of {self._rows} samples have history_timestamps that fall, the first is "
                f"{shown(self._falling[0])}: a history has its most recent item last"
            )
        if self.per_second != 1 and 0 < self._largest < _YEAR:
            found.append(f"read in {self._unit}, all times are in 1969 or 1970: are they in a larger unit?")
        return found
