"""CSV of MiniOneRec, ReRe and LatentR3: a history per row, its lists written as Python literals."""

from __future__ import annotations

from typing import Any

from minirec.data.importers import catalogue
from minirec.data.importers.base import Contents, Importer, Match, Options, Tally
from minirec.data.importers.history_rows import collect_items, is_history_table, samples_of
from minirec.data.importers.sources import File, Source
from minirec.data.importers.values import as_list


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise delimited files with the columns history_item_id and item_id."""
    found = _rows(source)
    if not found or as_list(found[0].first_row.get("history_item_id")) is None:
        return None
    sids = " with semantic ids" if "item_sid" in found[0].columns else ""
    extra = [file.name for file in (*_info(source), *_json(source))]
    return Match(
        f"rows with histories{sids} in {', '.join(file.name for file in found)}"
        + (f"; items in {', '.join(extra)}" if extra else "; titles from the rows themselves")
    )


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read rows, and items from info and index files where there are any, else from the rows."""
    tables = _rows(source)
    items: dict[str, dict[str, Any]] = {}
    for file in _info(source):
        _merge(items, catalogue.read_info(file))
    for file in _json(source):
        index = catalogue.read_index(file)
        if index is not None:
            _merge(items, {item: {catalogue.SEMANTIC_ID: sid} for item, sid in index.items()})
        else:
            _merge(items, catalogue.read_item_file(file))
    collect_items(tables, items)
    note_shared(items, tally)
    rows = [
        catalogue.item_row(item, catalogue.title_in(fields), fields, options, _FIELDS, tally)
        for item, fields in items.items()
    ]
    return Contents(rows, samples=samples_of(tables, items, (), options, tally), rating_column="rating")


_FIELDS = ("brand", "categories", "asin")


def note_shared(items: dict[str, dict[str, Any]], tally: Tally) -> None:
    """Note how many items share a semantic id with another: an answer cannot tell them apart."""
    sids = [fields[catalogue.SEMANTIC_ID] for fields in items.values() if fields.get(catalogue.SEMANTIC_ID)]
    if len(sids) > len(set(sids)):
        tally.note(f"{len(sids)} items have {len(set(sids))} semantic ids: some share theirs with another.")


def _merge(items: dict[str, dict[str, Any]], more: dict[str, dict[str, Any]] | None) -> None:
    for item, fields in (more or {}).items():
        known = items.setdefault(item, {})
        known.update({name: value for name, value in fields.items() if value and not known.get(name)})


def _rows(source: Source) -> list[File]:
    return [file for file in source.files if file.kind == "csv" and is_history_table(file)]


def _info(source: Source) -> list[File]:
    return [file for file in source.ending(".txt") if file.kind == "csv" and catalogue.read_info(file) is not None]


def _json(source: Source) -> list[File]:
    return source.ending(".index.json", ".item.json")


IMPORTER = Importer(
    "minionerec",
    "MiniOneRec, ReRe and LatentR3 CSV",
    "CSV with history_item_id and item_id; info/*.txt, *.index.json, *.item.json for titles and semantic ids",
    recognise,
    read,
)
