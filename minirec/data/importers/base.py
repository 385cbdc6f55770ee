"""What every importer gets and gives: options, counts of what was left out, and the rows of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from minirec.data.importers.sources import Source, split_of

SplitBy = Literal["time", "leave-one-out", "none"]
ROLES = ("user", "item", "rating", "timestamp", "title", "history", "target", "split", "id", "prompt", "answer")
"""What a column can be said to hold, with `columns={"user": "customer"}`."""


@dataclass(frozen=True)
class Options:
    """How rows become samples."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> name of the column that holds it, where the source's own names do not say it."""
    item_fields: tuple[str, ...] | None = None
    """Fields of items to keep beside the title; None: those that the importer chooses, `("*",)`: all."""
    min_rating: float | None = None
    """Interactions that are rated lower are left out. Unrated ones stay."""
    min_interactions: int = 1
    """Users and items with fewer interactions are left out, again and again until none is (k-core)."""
    window: int = 20
    """Longest history, in items."""
    split: SplitBy | None = None
    """None: by time where there are times, else leave-one-out. The splits of the source itself always stay."""


class Tally:
    """Counts what was left out and why, with the first case of each, and keeps notes on what was assumed."""

    def __init__(self) -> None:
        self.read: dict[str, int] = {}
        """Rows read, by kind."""
        self.dropped: dict[str, int] = {}
        """Reason -> how many rows."""
        self.first: dict[str, str] = {}
        """Reason -> the first row that was left out for it."""
        self.notes: list[str] = []
        """What was assumed, and what looks odd, in whole sentences."""
        self.left_fields: set[str] = set()
        """Fields of items that are not kept."""

    def count(self, kind: str, number: int = 1) -> None:
        """Count rows that were read."""
        self.read[kind] = self.read.get(kind, 0) + number

    def drop(self, reason: str, which: str = "", number: int = 1) -> None:
        """Count rows that are left out; `which` names the first of them."""
        if number:
            self.dropped[reason] = self.dropped.get(reason, 0) + number
            if which:
                self.first.setdefault(reason, which)

    def note(self, sentence: str) -> None:
        """Keep a note, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


class Interaction(NamedTuple):
    """One thing that one user did."""

    user: str
    item: str
    rating: float | None = None
    time: float | None = None
    """Seconds since 1970."""


@dataclass(frozen=True)
class Contents:
    """What a source holds: interactions or samples with their items, or prompts. Iterables are read once."""

    items: Iterable[dict[str, Any]] | None = None
    """Rows for a catalogue. None: there is no catalogue, and ids stand in for titles."""
    interactions: Iterable[Interaction] | None = None
    samples: Iterable[dict[str, Any]] | None = None
    prompts: Iterable[dict[str, Any]] | None = None
    rating_column: str | None = None
    """Where samples have their targets' ratings, by which they were filtered."""


def split_of_value(value: Any, tally: Tally) -> str | None:
    """Return the split that a cell says; another value than train, valid or test is noted, and is none."""
    if value is None or value == "":
        return None
    split = split_of(str(value))
    if split is None:
        tally.note(f"The split {str(value)[:40]!r} is none of train, valid and test: rows with such have none.")
    return split


@dataclass(frozen=True)
class Match:
    """What an importer recognised."""

    what: str
    """What was found, in words: files and columns."""
    sure: bool = True
    """Whether it can be nothing else."""


@dataclass(frozen=True)
class Importer:
    """Reads one family of sources."""

    name: str
    """What `--format` calls it."""
    title: str
    """What people call it."""
    needs: str
    """What a source must have, in one line."""
    recognise: Callable[[Source, Options], Match | None]
    read: Callable[[Source, Options, Tally], Contents]
