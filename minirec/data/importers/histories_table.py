"""Rows that have a history and a target under MiniRec's names, or under names that are said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from minirec.data.importers.base import Contents, Importer, Match, Options, Tally, split_of_value
from minirec.data.importers.catalogue import item_row
from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import AnyTable, Source, split_of
from minirec.data.importers.values import as_id, as_ids, as_list, as_number, as_time, as_title, unit_of

NAMES: Mapping[str, str] = {
    "history": "history",
    "target": "target",
    "user": "user_id",
    "timestamp": "timestamp",
    "id": "id",
    "split": "split",
    "item": "item_id",
    "title": "title",
}


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise a table with a history and a target."""
    names = {**NAMES, **options.columns}
    samples = _samples(source, names)
    if not samples:
        return None
    items = _items(source, names)
    found = f"histories in {names['history']!r} and targets in {names['target']!r} of "
    found += ", ".join(table.name for table in samples)
    return Match(found + (f"; items in {', '.join(table.name for table in items)}" if items else "; no items"))


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read samples and items."""
    names = {**NAMES, **options.columns}
    samples, items = _samples(source, names), _items(source, names)
    if not samples:
        raise SourceError(
            f"{source.name} has no table with {names['history']} and {names['target']}; "
            "say --column history=NAME --column target=NAME"
        )
    return Contents(
        _item_rows(items, names, options, tally) if items else None,
        samples=_sample_rows(samples, names, options, tally),
    )


def _samples(source: Source, names: Mapping[str, str]) -> list[AnyTable]:
    return [table for table in source.tables if {names["history"], names["target"]} <= set(table.columns)]


def _items(source: Source, names: Mapping[str, str]) -> list[AnyTable]:
    wanted = {names["item"], names["title"]}
    return [t for t in source.tables if wanted <= set(t.columns) and names["history"] not in t.columns]


def _item_rows(
    tables: list[AnyTable], names: Mapping[str, str], options: Options, tally: Tally
) -> Iterator[dict[str, Any]]:
    for table in tables:
        for line, row in table.rows():
            item, title = as_id(row.get(names["item"])), as_title(row.get(names["title"]))
            if item is None:
                tally.drop("item without an id", f"{table.name}, line {line}")
            else:
                fields = {name: value for name, value in row.items() if name not in (names["item"], names["title"])}
                yield item_row(item, title, fields, options, None, tally)


def _sample_rows(
    tables: list[AnyTable], names: Mapping[str, str], options: Options, tally: Tally
) -> Iterator[dict[str, Any]]:
    numbers: Counter[str] = Counter()
    for table in tables:
        for line, row in table.rows():
            tally.count("rows")
            history, target = as_ids(row.get(names["history"])), as_id(row.get(names["target"]))
            if not history or target is None:
                tally.drop("row without a history or target that can be read", f"{table.name}, line {line}")
                continue
            user = as_id(row.get(names["user"]))
            numbers[user or "row"] += 1
            sample: dict[str, Any] = {
                "id": as_id(row.get(names["id"])) or f"{user or 'row'}-{numbers[user or 'row']}",
                "history": history[-options.window :],
                "target": target,
            }
            if user is not None:
                sample["user_id"] = user
            if (time := as_time(row.get(names["timestamp"]))) is not None:
                sample["timestamp"] = _seconds(time, tally)
            for field in ("ratings", "history_timestamps"):
                values = as_list(row.get(field))
                if values is not None and len(values) == len(history):
                    sample[field] = [_number(value, field, tally) for value in values[-options.window :]]
            if (split := split_of_value(row.get(names["split"]), tally) or split_of(table.name)) is not None:
                sample["split"] = split
            yield sample


def _number(value: Any, field: str, tally: Tally) -> float | None:
    if field == "ratings":
        return as_number(value)
    time = as_time(value)
    return None if time is None else _seconds(time, tally)


def _seconds(time: float, tally: Tally) -> float:
    """Return a time in seconds; one beyond the year 2286 is in a smaller unit, and that is noted."""
    divisor, unit = unit_of(abs(time))
    if divisor != 1:
        tally.note(f"Times were read as {unit}.")
    return time / divisor


IMPORTER = Importer(
    "histories",
    "Tables with a history and a target per row",
    "history (a list of ids) and target; a second table with item_id and title",
    recognise,
    read,
)
