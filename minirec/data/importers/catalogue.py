"""Rows of a catalogue out of what sources say of their items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from minirec.data.importers.base import Options, Tally
from minirec.data.importers.sources import File
from minirec.data.importers.values import as_id, as_list, as_number, as_title, joined, without_empty

SEMANTIC_ID = "sid"
"""Field of an item that holds its semantic id."""
AMAZON_FIELDS: tuple[str, ...] = (
    "subtitle",
    "author",
    "brand",
    "store",
    "categories",
    "category",
    "price",
    "average_rating",
    "rating_number",
)
_RESERVED = ("item_id", "title")


def item_row(
    item_id: str, title: str, fields: Mapping[str, Any], options: Options, default: Iterable[str] | None, tally: Tally
) -> dict[str, Any]:
    """Return an item with those of its fields that are kept, and note which are not.

    Args:
        item_id: Its id.
        title: Its title.
        fields: Everything that the source says of it.
        options: `item_fields` says what to keep.
        default: What to keep where the options do not say it; None: all.
        tally: Gets the note.
    """
    wanted = options.item_fields if options.item_fields is not None else default
    present = {name: plain(value) for name, value in fields.items() if name not in _RESERVED}
    present = without_empty(present)
    if wanted is not None and "*" not in wanted:
        left = set(present) - set(wanted) - {SEMANTIC_ID}
        present = {name: value for name, value in present.items() if name in wanted or name == SEMANTIC_ID}
        tally.left_fields.update(left)
    return {"item_id": item_id, "title": title, **present}


def plain(value: Any) -> Any:
    """Return a value that JSON can hold, without what is missing; a list of one list is that list."""
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        entries = [plain(entry) for entry in value]
        return entries[0] if len(entries) == 1 and isinstance(entries[0], list) else entries
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    return value.strip() if isinstance(value, str) else None if isinstance(value, bytes) else value


def number_or_text(text: str) -> Any:
    """Return a cell as a number where it is one, else as text."""
    number = as_number(text)
    return (
        text.strip() if number is None else int(number) if number.is_integer() and "e" not in text.lower() else number
    )


def read_index(file: File) -> dict[str, str] | None:
    """Return item id -> semantic id from `{"0": ["<a_1>", "<b_2>"], ...}`; None if the file is none."""
    found = file.json()
    if not isinstance(found, dict) or not found:
        return None
    if not all(isinstance(codes, list) and codes for codes in found.values()):
        return None
    return {str(item): joined(codes) for item, codes in found.items()}


def read_item_file(file: File) -> dict[str, dict[str, Any]] | None:
    """Return item id -> fields from `{"0": {"title": ..., ...}, ...}`; None if the file is none."""
    found = file.json()
    if not isinstance(found, dict) or not found:
        return None
    if not all(isinstance(fields, dict) for fields in found.values()):
        return None
    return {str(item): fields for item, fields in found.items()}


def read_info(file: File) -> dict[str, dict[str, Any]] | None:
    """Return item id -> fields from lines of `title, id` or `semantic id, title, id` by tabs; None for others."""
    found: dict[str, dict[str, Any]] = {}
    for _, line in file.lines():
        parts = line.split("\t")
        if len(parts) not in (2, 3) or (item := as_id(parts[-1])) is None:
            return None
        fields: dict[str, Any] = {"title": as_title(parts[-2])}
        if len(parts) == 3:
            fields[SEMANTIC_ID] = parts[0].strip()
        found[item] = fields
    return found or None


def title_in(fields: Mapping[str, Any]) -> str:
    """Return the title that fields have under one of its usual names; empty where there is none."""
    return as_title(next((fields[name] for name in ("title", "name", "item_title") if fields.get(name)), ""))


def categories(value: Any) -> Any:
    """Return categories as a list, from a list, a literal or text with bars or commas between them."""
    found = as_list(value) if isinstance(value, str) and value.startswith("[") else value
    if isinstance(found, str):
        mark = "|" if "|" in found else ","
        found = [part.strip() for part in found.split(mark) if part.strip()]
    return found
