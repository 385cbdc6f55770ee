"""Interactions, one per row, turned into samples: what a user did, and what came next."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minirec.data.importers.base import Interaction, Options, SplitBy, Tally
from minirec.data.importers.values import unit_of

TRAIN, VALID = 0.8, 0.9
"""Where in the samples' global order of time the train and the valid part end."""
_EARLIEST = 631_152_000
"""Seconds from 1970 to 1990: nothing that people rate online is older."""
_CENTURY = 4_102_444_800
"""Seconds from 1970 to 2100."""


class Events:
    """Interactions as columns: a data set of millions fits into memory."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._columns = (array("q"), array("q"), array("d"), array("d"))

    def add(self, event: Interaction) -> None:
        """Append one interaction."""
        user, item, rating, time = self._columns
        user.append(self.users.setdefault(event.user, len(self.users)))
        item.append(self.items.setdefault(event.item, len(self.items)))
        rating.append(np.nan if event.rating is None else event.rating)
        time.append(np.nan if event.time is None else event.time)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return users, items, ratings and times, in the order in which they were added."""
        return tuple(
            np.frombuffer(column, dtype=np.int64 if column.typecode == "q" else np.float64) for column in self._columns
        )


def samples_of(
    interactions: Iterable[Interaction], known: set[str] | None, options: Options, tally: Tally
) -> Iterator[dict[str, Any]]:
    """Yield one sample for every item that a user chose after another one, oldest first.

    A history is what the user chose before, at most `window` items. What happened at the same time keeps the order of
    the source.

    Args:
        interactions: What users did.
        known: Ids of the catalogue; None if there is none.
        options: Bounds, window and split.
        tally: Gets what is left out.
    """
    events = Events()
    n_rated = 0
    for event in interactions:
        tally.count("interactions")
        n_rated += event.rating is not None
        if known is not None and event.item not in known:
            tally.drop("interaction with an item that is not in the catalogue", event.item)
        elif options.min_rating is not None and event.rating is not None and event.rating < options.min_rating:
            tally.drop(f"interaction rated below {options.min_rating:g}")
        else:
            events.add(event)
    users, items, ratings, times = events.arrays()
    if not len(users):
        return
    if options.min_rating is not None and not n_rated:
        tally.note("No interaction has a rating: min_rating had no effect.")
    elif options.min_rating is not None and (unrated := int(np.isnan(ratings).sum())):
        tally.note(f"{unrated:,} interactions have no rating, and stay.")
    times = _seconds(times, tally)
    kept = _once(users, items, times, tally)
    kept = kept[_core(users[kept], items[kept], options.min_interactions, tally)]
    order = kept[np.lexsort((kept, times[kept], users[kept]))]
    yield from _rows(events, order, (users, items, ratings, times), options, tally)


def _seconds(times: NDArray[Any], tally: Tally) -> NDArray[Any]:
    """Return times in seconds; where some are missing, none counts and the order of the source does."""
    missing = int(np.isnan(times).sum())
    if missing:
        known = "no times" if missing == len(times) else f"no time for {missing:,} of {len(times):,} interactions"
        tally.note(f"There are {known}: the order of the source is taken as the order of time.")
        return np.full(len(times), np.nan)
    if (days := _days(times)) is not None:
        tally.note("Times such as 20200131 were read as dates: year, month, day.")
        return days
    divisor, unit = unit_of(float(np.abs(times).max()))
    # The largest says the unit of all. A time that would then be in January 1970, but is a usual one in seconds, is in
    # seconds: two files were joined.
    in_seconds = (divisor != 1) & (times >= _EARLIEST) & (times < _CENTURY)
    if divisor != 1:
        part = f", but {int(in_seconds.sum()):,} of them as seconds, by their size" if in_seconds.any() else ""
        tally.note(f"Times were read as {unit}{part}.")
    times = np.where(in_seconds, times, times / divisor)
    if 0 < times.max() < _EARLIEST:
        tally.note("All times are before 1990: they are used for the order, but are they seconds since 1970?")
    return times


def _days(times: NDArray[Any]) -> NDArray[Any] | None:
    """Return seconds since 1970 of times that are all written as 20200131; None if one is not."""
    if times.min() < 1990_01_01 or times.max() > 2100_12_31 or (times % 1 != 0).any():
        return None
    whole = times.astype(np.int64)
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    if not ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    return (months.astype("datetime64[D]") + (day - 1)).astype("datetime64[s]").astype(np.float64)


def _once(users: NDArray[Any], items: NDArray[Any], times: NDArray[Any], tally: Tally) -> NDArray[Any]:
    """Return the rows without those that repeat an interaction at the same time."""
    if np.isnan(times).any():
        return np.arange(len(users))
    order = np.lexsort((np.arange(len(users)), times, items, users))
    same = np.ones(len(order), dtype=bool)
    for column in (users, items, times):
        same[1:] &= column[order][1:] == column[order][:-1]
    same[0] = False
    tally.drop("interaction that came before: the same user, item and time", number=int(same.sum()))
    return np.sort(order[~same])


def _core(users: NDArray[Any], items: NDArray[Any], least: int, tally: Tally) -> NDArray[Any]:
    """Return the rows of users and items with at least `least` interactions, among themselves."""
    kept = np.arange(len(users))
    while least > 1 and len(kept):
        counts = [np.bincount(column[kept]) for column in (users, items)]
        enough = (counts[0][users[kept]] >= least) & (counts[1][items[kept]] >= least)
        if enough.all():
            break
        kept = kept[enough]
    tally.drop(f"interaction of a user or item with fewer than {least}", number=len(users) - len(kept))
    return kept


def _rows(
    events: Events, order: NDArray[Any], columns: tuple[NDArray[Any], ...], options: Options, tally: Tally
) -> Iterator[dict[str, Any]]:
    users, items, ratings, times = (column[order] for column in columns)
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.zeros(0, dtype=np.int64)
    place = np.arange(len(users)) - np.repeat(starts, np.diff(np.r_[starts, len(users)]))
    size = np.repeat(np.diff(np.r_[starts, len(users)]), np.diff(np.r_[starts, len(users)]))
    tally.drop("user with one interaction: there is no history before it", number=int((size == 1).sum()))
    tally.count("users", int((size[place == 0] > 1).sum()))
    targets = np.flatnonzero(place > 0)
    timed = not np.isnan(times).any()
    if timed:
        targets = targets[np.lexsort((targets, times[targets]))]
    by = options.split or ("time" if timed else "leave-one-out")
    if by == "time" and not timed:
        tally.note("A split by time needs times; leave-one-out was used.")
        by = "leave-one-out"
    splits = splits_of(by, times[targets], (size - 1 - place)[targets])
    user_names, item_names = list(events.users), list(events.items)
    rated = not np.isnan(ratings).all()
    for row, split in zip(targets.tolist(), splits, strict=True):
        begin = row - min(int(place[row]), options.window)
        user = user_names[users[row]]
        sample: dict[str, Any] = {
            "id": f"{user}-{place[row]}",
            "user_id": user,
            "history": [item_names[item] for item in items[begin:row].tolist()],
            "target": item_names[items[row]],
        }
        if timed:
            sample["timestamp"] = float(times[row])
            sample["history_timestamps"] = times[begin:row].tolist()
        if rated:
            sample["ratings"] = [None if value != value else value for value in ratings[begin:row].tolist()]
        if split is not None:
            sample["split"] = split
        yield sample


def splits_of(by: SplitBy, times: NDArray[Any], after: NDArray[Any]) -> list[str | None]:
    """Return the split of each sample.

    Args:
        by: "time": 8:1:1 in the global order of time, samples of one second together; "leave-one-out": each user's
            last sample is for testing and the one before for validation; "none": no splits.
        times: Times of the targets, in their order.
        after: How many samples the user has after each.
    """
    if by == "time" and len(times):
        valid_from, test_from = (times[int(len(times) * part)] for part in (TRAIN, VALID))
        return ["train" if time < valid_from else "valid" if time < test_from else "test" for time in times.tolist()]
    if by == "leave-one-out":
        return [{0: "test", 1: "valid"}.get(left, "train") for left in after.tolist()]
    return [None] * len(after)
