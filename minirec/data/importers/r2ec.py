"""Data sets of R2ec and of the paper's own code: a `DatasetDict` on disk with train, valid, test and item_info."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minirec.data.importers.base import Contents, Importer, Match, Options, Tally
from minirec.data.importers.catalogue import AMAZON_FIELDS, item_row
from minirec.data.importers.history_rows import TARGET, collect_items, is_history_table, samples_of
from minirec.data.importers.sources import AnyTable, Source
from minirec.data.importers.values import as_id, as_title


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise tables with lists in history_item_id."""
    rows = _rows(source)
    if not rows or not isinstance(rows[0].first_row.get("history_item_id"), list):
        return None
    info = _item_info(source)
    return Match(
        f"rows with histories in {', '.join(table.name for table in rows)}"
        + (f"; items in {info.name}" if info is not None else "; titles from the rows themselves")
    )


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read rows and items; the item that only fills histories up is left out, of these as well."""
    rows, info = _rows(source), _item_info(source)
    pads: set[str] = set()
    if info is not None:
        items = list(_items(info, pads, options, tally))
    else:
        found: dict[str, dict[str, Any]] = {}
        collect_items(rows, found)
        items = [item_row(item, as_title(of.get("title")), of, options, None, tally) for item, of in found.items()]
    known = {item["item_id"] for item in items}
    return Contents(items, samples=samples_of(rows, known, pads, options, tally), rating_column="rating")


def _items(info: AnyTable, pads: set[str], options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    for number, row in info.rows():
        item, title = as_id(row.get(TARGET)), as_title(row.get("title"))
        if item is None:
            tally.drop("item without an id", f"{info.name}, row {number}")
        elif number == 1 and item == "0" and title.strip("[]<>").lower() in ("", "pad", "padding", "none"):
            pads.add(item)
            tally.drop("item that only fills histories up (pad)", f"item {item}")
        else:
            fields = {name: value for name, value in row.items() if name != TARGET}
            yield item_row(item, title, fields, options, (*AMAZON_FIELDS, "parent_asin"), tally)


def _rows(source: Source) -> list[AnyTable]:
    return [table for table in source.tables if table.kind != "csv" and is_history_table(table)]


def _item_info(source: Source) -> AnyTable | None:
    tables = [table for table in source.tables if not is_history_table(table)]
    return next((table for table in tables if {TARGET, "title"} <= set(table.columns)), None)


IMPORTER = Importer(
    "r2ec",
    "R2ec data sets (save_to_disk)",
    "train, valid, test with history_item_id and item_id; item_info with item_id and title",
    recognise,
    read,
)
