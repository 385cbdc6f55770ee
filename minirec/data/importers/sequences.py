"""Texts with one user per line, `user item item ...`, or one interaction per line, `user item`, oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minirec.data.importers import catalogue
from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.errors import SourceError
from minirec.data.importers.minionerec import note_shared
from minirec.data.importers.sources import File, Source
from minirec.data.importers.values import as_number

_SHOWN = 50
"""Lines that are looked at."""


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise texts whose every line is some ids with spaces between."""
    files = _sequences(source)
    if not files:
        return None
    lengths = {len(line) for line in _head(files[0])}
    pairs = lengths == {2}
    what = "one interaction per line, user and item" if pairs else "one user per line, then the user's items"
    titles = source.ending(".json")
    found = f"{files[0].name}: {what}" + (f"; items in {', '.join(file.name for file in titles)}" if titles else "")
    return Match(found, sure=len(lengths) > 1)


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read interactions in the order of the file; titles and semantic ids come from a JSON file beside it."""
    files = _sequences(source)
    if len(files) > 1:
        raise SourceError(f"{source.name} has several texts: {', '.join(file.name for file in files)}; give one")
    if not files:
        raise SourceError(f"{source.name} has no text with ids on every line")
    items: dict[str, dict[str, Any]] = {}
    for file in source.ending(".json"):
        for item, fields in (catalogue.read_item_file(file) or {}).items():
            items.setdefault(item, {}).update(fields)
    events = _events(files[0], tally)
    if not items:
        return Contents(None, interactions=events)
    note_shared(items, tally)
    rows = [
        catalogue.item_row(item, catalogue.title_in(of), of, options, ("brand", "categories"), tally)
        for item, of in items.items()
    ]
    return Contents(rows, interactions=events)


def _sequences(source: Source) -> list[File]:
    return [file for file in source.files if file.kind in ("text", "csv") and _is_sequence(file)]


def _is_sequence(file: File) -> bool:
    lines = _head(file)
    if not lines or any(len(line) < 2 for line in lines) or file.delimiter not in ("", "\t"):
        return False
    whole = sum(as_number(cell) is not None for line in lines for cell in line)
    ids = sum(cell.isascii() and not cell.endswith((".", ",", ":", "?", "!")) for line in lines for cell in line)
    cells = sum(map(len, lines))
    return whole == cells or (ids == cells and len({len(line) for line in lines}) > 1 and _no_prose(lines))


def _no_prose(lines: list[list[str]]) -> bool:
    """Tell whether cells have digits, as ids do and words do not."""
    cells = [cell for line in lines for cell in line]
    return sum(any(char.isdigit() for char in cell) for cell in cells) > 0.9 * len(cells)


def _head(file: File) -> list[list[str]]:
    return [line.split() for line in file.head.splitlines()[:_SHOWN] if line.strip()]


def _events(file: File, tally: Tally) -> Iterator[Interaction]:
    for number, line in file.lines():
        user, *items = line.split()
        if not items:
            tally.drop("line without items", f"{file.name}, line {number}")
        for item in items:
            yield Interaction(user, item)


IMPORTER = Importer(
    "sequences",
    "Sequences, as P5, TIGER, SASRec and OneRec-Think have them",
    "a text of lines `user item item ...` or `user item`; a JSON file {item: {title, ...}} for titles",
    recognise,
    read,
)
