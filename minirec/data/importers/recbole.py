"""RecBole atomic files: `.inter` with interactions, `.item` with the catalogue, a header of `name:type`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.catalogue import item_row, number_or_text
from minirec.data.importers.errors import SourceError
from minirec.data.importers.history_rows import HISTORY, TARGET, samples_of
from minirec.data.importers.sources import File, Source, View, split_of
from minirec.data.importers.values import as_id, as_number, as_title

TYPES = ("token", "token_seq", "float", "float_seq")


def header(file: File) -> dict[str, str]:
    """Return column -> type of an atomic file; empty if it is none."""
    cells = file.head.split("\n", 1)[0].strip("\r\ufeff").split("\t")
    parts = [cell.strip().rpartition(":") for cell in cells]
    return {name: kind for name, _, kind in parts} if all(p[0] and p[2] in TYPES for p in parts) else {}


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise a `.inter` file by the types in its header."""
    inter = _interactions(source)
    if not inter:
        return None
    items = _items(source)
    found = f"{', '.join(file.name for file in inter)} ({', '.join(header(inter[0]))})"
    return Match(f"{found}; {items.name} ({', '.join(header(items))})" if items else f"{found}; no .item file")


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read interactions, or the histories of RecBole's benchmark files."""
    inter, item = _interactions(source), _items(source)
    names = header(inter[0])
    items = _catalogue(item, options, tally) if item else None
    user, thing = _column(names, options, "user", "user_id"), _column(names, options, "item", "item_id")
    sequence = f"{thing}_list"
    if len(inter) > 1 and not all(split_of(file.name) for file in inter):
        raise SourceError(f"{source.name} has several data sets: {', '.join(file.name for file in inter)}; give one")
    if sequence not in names:
        return Contents(items, interactions=_events(inter, user, thing, names, options))
    views = [_as_history_rows(file, user, thing, sequence) for file in inter]
    known = {row["item_id"] for row in _catalogue(item, options, tally)} if item else None
    return Contents(items, samples=samples_of(views, known, (), options, tally), rating_column="rating")


def _as_history_rows(file: File, user: str, item: str, sequence: str) -> View:
    """Return a benchmark file, which has a history per row, under the names that other tools use."""
    columns = {"user_id": user, HISTORY: sequence, TARGET: item, "timestamp": "timestamp", "rating": "rating"}
    given = {name: column for name, column in columns.items() if column in header(file)}

    def read_rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in rows(file):
            yield number, {name: row[column] for name, column in given.items()}

    return View(file.name, tuple(given), read_rows)


def _interactions(source: Source) -> list[File]:
    return [file for file in source.files if file.plain_name.endswith(".inter") and header(file)]


def _items(source: Source) -> File | None:
    return next((file for file in source.files if file.plain_name.endswith(".item") and header(file)), None)


def _column(names: dict[str, str], options: Options, role: str, usual: str) -> str:
    """Return the column with a role: the one that is said, the usual one, or the one with the role in its name."""
    if role in options.columns:
        return options.columns[role]
    tokens = [name for name, kind in names.items() if kind == "token"]
    found = usual if usual in names else next((name for name in tokens if role in name.lower()), None)
    if found is None:
        raise SourceError(f"no column holds the {role}: there are {', '.join(names)}; say --column {role}=NAME")
    return found


def _events(files: list[File], user: str, item: str, names: dict[str, str], options: Options) -> Iterator[Interaction]:
    rating = options.columns.get("rating", "rating" if "rating" in names else "")
    time = options.columns.get("timestamp", "timestamp" if "timestamp" in names else "")
    for file in files:
        for _, row in rows(file):
            who, what = as_id(row.get(user)), as_id(row.get(item))
            if who is not None and what is not None:
                yield Interaction(who, what, as_number(row.get(rating)), as_number(row.get(time)))


def _catalogue(file: File, options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    names = header(file)
    key = _column(names, options, "item", "item_id")
    title = options.columns.get("title") or next(
        (name for word in ("title", "name") for name in names if word in name.lower()), None
    )
    if title is None:
        raise SourceError(
            f"{file.name}: no column is called title or name: there are {', '.join(names)}; say --column title=NAME"
        )
    for _, row in rows(file):
        fields = {name: _typed(row[name], kind) for name, kind in names.items() if name not in (key, title)}
        if (item := as_id(row[key])) is not None:
            yield item_row(item, as_title(row[title]), fields, options, None, tally)


def rows(file: File) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (1-based line, row): tabs, no quoting. Raises SourceError."""
    names = list(header(file))
    for number, line in file.lines():
        cells = line.split("\t")
        if number == 1:
            continue
        if len(cells) != len(names):
            raise SourceError(f"{file.name}, line {number}: {len(cells)} cells, but the header has {len(names)}")
        yield number, dict(zip(names, cells, strict=True))


def _typed(text: str, kind: str) -> Any:
    if kind == "token":
        return number_or_text(text) if text.strip().isdecimal() else text.strip()
    if kind == "float":
        return as_number(text)
    parts = text.split()
    return [as_number(part) for part in parts] if kind == "float_seq" else parts


IMPORTER = Importer("recbole", "RecBole atomic files", "NAME.inter, and NAME.item for titles", recognise, read)
