"""Prompts as text: a user's history, or an item (docs/method.md, section 1).

Constant text comes first in both, so that a batch's prompts share a long opening which is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minirec.data.dataset import Sample

PROMPT_VERSION = "1"
"""Raised with any change of wording or layout: results under different prompts must not be mixed."""

ANSWER = "<answer>"
"""Where reasoning ends and the recommendation is read off."""

USER_INSTRUCTION = (
    f"Below is what a user chose so far, oldest first. Think about what the user likes and what the choices have in "
    f"common. Then recommend the next item, written between {ANSWER} and </answer>.\n"
)
TITLE_INSTRUCTION = (
    f"Below is what a user chose so far, oldest first. Think about what the user likes and what the choices have in "
    f"common. Then recommend the next item: write its title between {ANSWER} and </answer>, and nothing else there.\n"
)
"""For trainers that read the answer as text; our own recommendation head needs no title."""
ITEM_INSTRUCTION = (
    f"Sum up what this item is and who likes it. Write its key attributes between {ANSWER} and </answer>.\n"
)
MAX_FIELD_CHARACTERS = 300
"""Longer titles and attributes are cut, so that one item cannot fill the prompt."""
DAY = 86_400.0


def user_text(items: Sequence[Mapping[str, Any]], sample: Sample, *, first: int) -> str:
    """Ask for reasoning about a history, shown from its item number `first` on, and then for an item."""
    return USER_INSTRUCTION + _history(items, sample, first)


def title_request(items: Sequence[Mapping[str, Any]], sample: Sample, *, first: int) -> str:
    """Ask for reasoning about the same history, and then for an item's title in words."""
    return TITLE_INSTRUCTION + _history(items, sample, first)


def first_shown(sample: Sample, window: int) -> int:
    """Number of the first history item that is shown when only the last `window` are."""
    return max(0, len(sample.history) - window)


def item_text(item: Mapping[str, Any]) -> str:
    """Ask for an item's attributes, given its title and all other fields."""
    fields = {name: value for name, value in item.items() if name not in ("item_id", "title") and value is not None}
    lines = [
        f"title: {title_text(item)}",
        *(f"{name}: {_plain(value)}" for name, value in sorted(fields.items())),
    ]
    return ITEM_INSTRUCTION + "\n".join(lines)


def title_text(item: Mapping[str, Any]) -> str:
    """Return an item's title as prompts show it: one line, cut to a bounded length."""
    return _plain(item["title"])


def _history(items: Sequence[Mapping[str, Any]], sample: Sample, first: int) -> str:
    return "\n".join(_history_line(items, sample, index) for index in range(first, len(sample.history)))


def _history_line(items: Sequence[Mapping[str, Any]], sample: Sample, index: int) -> str:
    rating = sample.ratings[index] if sample.ratings is not None else None
    rated = "" if rating is None else f" (rated {rating:g})"
    return f"- {_how_long_ago(sample, index)}: {title_text(items[sample.history[index]])}{rated}"


def _how_long_ago(sample: Sample, index: int) -> str:
    """Return the time between a history item and the target; its place counted from the end where times are missing."""
    then = sample.history_timestamps[index] if sample.history_timestamps is not None else None
    if then is None or sample.timestamp is None:
        return _count(len(sample.history) - index, "choice")
    days = int(max(0.0, sample.timestamp - then) // DAY)
    if days == 0:
        return "same day"
    if days < 60:
        return _count(days, "day")
    return _count(days // 30, "month") if days < 730 else _count(days // 365, "year")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'} ago"


def _plain(value: object) -> str:
    """Return one line of text, cut to a bounded length."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split())[:MAX_FIELD_CHARACTERS]
