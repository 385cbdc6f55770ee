"""JSON of LC-Rec and its family: `NAME.inter.json` with each user's items, `NAME.item.json`, `NAME.index.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minirec.data.importers import catalogue
from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.errors import SourceError
from minirec.data.importers.minionerec import note_shared
from minirec.data.importers.sources import File, Source
from minirec.data.importers.values import as_id, as_ids


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise `*.inter.json` by its name."""
    inter = source.ending(".inter.json")
    if not inter:
        return None
    others = [file.name for file in source.ending(".item.json", ".index.json")]
    return Match("; ".join([f"items of each user in {inter[0].name}", *others]))


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read interactions in each user's order; reviews are not read."""
    inter = source.ending(".inter.json")
    if len(inter) > 1:
        raise SourceError(f"{source.name} has several data sets: {', '.join(file.name for file in inter)}; give one")
    items: dict[str, dict[str, Any]] = {}
    for file in source.ending(".item.json"):
        for item, fields in (catalogue.read_item_file(file) or {}).items():
            items.setdefault(item, {}).update(fields)
    if not items:
        return Contents(None, interactions=_events(inter[0], tally))
    for file in source.ending(".index.json"):
        for item, sid in (catalogue.read_index(file) or {}).items():
            if item in items:
                items[item][catalogue.SEMANTIC_ID] = sid
    note_shared(items, tally)
    rows = [
        catalogue.item_row(item, catalogue.title_in(fields), _split(fields), options, ("brand", "categories"), tally)
        for item, fields in items.items()
    ]
    return Contents(rows, interactions=_events(inter[0], tally))


def _split(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with the categories as a list."""
    return {**fields, "categories": catalogue.categories(fields.get("categories"))}


def _events(file: File, tally: Tally) -> Iterator[Interaction]:
    found = file.json()
    if not isinstance(found, dict):
        raise SourceError(f"{file.name}: must be one object, user -> list of items")
    for user, history in found.items():
        if (items := as_ids(history)) is None or (who := as_id(user)) is None:
            tally.drop("user whose items are no list of ids", f"user {user}")
            continue
        for item in items:
            yield Interaction(who, item)


IMPORTER = Importer(
    "lcrec",
    "LC-Rec JSON",
    "NAME.inter.json; NAME.item.json for titles, NAME.index.json for semantic ids",
    recognise,
    read,
)
