"""Plain tables of interactions: one thing that a user did per row, in CSV, TSV, JSON lines, Parquet or memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.catalogue import item_row
from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import AnyTable, File, Source, View
from minirec.data.importers.values import as_id, as_number, as_rating, as_time, as_title

USUAL: Mapping[str, Sequence[str]] = {
    "user": [
        "user_id",
        "user",
        "userid",
        "uid",
        "reviewerid",
        "customer_id",
        "customerid",
        "visitorid",
        "session_id",
        "sessionid",
        "account_id",
    ],
    "item": [
        "item_id",
        "item",
        "itemid",
        "iid",
        "movie_id",
        "movieid",
        "asin",
        "parent_asin",
        "product_id",
        "productid",
        "article_id",
        "book_id",
        "song_id",
        "track_id",
        "isbn",
        "gmap_id",
        "business_id",
        "sku",
    ],
    "rating": ["rating", "ratings", "overall", "stars", "score", "book-rating"],
    "timestamp": ["timestamp", "time", "ts", "unixreviewtime", "datetime", "date", "event_time", "created_at", "t_dat"],
    "title": [
        "title",
        "item_title",
        "name",
        "movie_title",
        "product_title",
        "product_name",
        "prod_name",
        "book-title",
        "item_name",
    ],
}
"""Role -> names that columns with it usually have, in lower case."""
MISSING = ("", "nan", "na", "n/a", "null", "none", "<na>")
UNREADABLE_TIME = "row whose time is no number, ISO 8601 date (2015-10-02 14:30) or day.month.year date (2.10.2015)"
HEADLESS = ("user", "item", "rating", "timestamp")


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise a table with a user and an item, by the names of its columns or by its cells."""
    tables = _tables(source, options)
    if tables:
        roles = roles_of(tables[0], options)
        held = ", ".join(f"{role} in {column!r}" for role, column in roles.items() if column)
        items = _item_tables(source, options, tables)
        what = f"interactions in {', '.join(table.name for table in tables)}: {held}"
        return Match(what + (f"; items in {', '.join(table.name for table in items)}" if items else ""))
    files = _headless(source)
    if not files:
        return None
    return Match(
        f"interactions in {files[0].name}, which has no header: read as {', '.join(HEADLESS[: _width(files[0])])}",
        sure=False,
    )


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read interactions, and titles from a second table or from the rows themselves."""
    tables = _tables(source, options)
    if not tables:
        files = _headless(source)
        if not files:
            raise SourceError(
                f"{source.name} has no table with a user and an item per row: {_seen(source)}; "
                "say which columns hold them: --column user=NAME --column item=NAME"
            )
        tally.note(
            f"{files[0].name} has no header: its columns were read as {', '.join(HEADLESS[: _width(files[0])])}."
        )
        tables = [_named(file) for file in files]
    others = _item_tables(source, options, tables)
    titled = [table for table in tables if _title_of_rows(table, options)]
    items: Iterator[dict[str, Any]] | None = None
    if others:
        items = _items(others, options, tally)
    elif titled:
        items = _items_of_rows(titled, options, tally)
    return Contents(items, interactions=_events(tables, options, tally))


def roles_of(table: AnyTable | View, options: Options) -> dict[str, str | None]:
    """Return role -> column: those that are said, else those with a usual name. Raises SourceError."""
    lower = {name.lower(): name for name in reversed(table.columns)}
    found: dict[str, str | None] = {}
    for role, usual in USUAL.items():
        found[role] = options.columns.get(role) or next((lower[name] for name in usual if name in lower), None)
    return found


def _tables(source: Source, options: Options) -> list[AnyTable | View]:
    return [table for table in source.tables if _has(table, options, "user") and _has(table, options, "item")]


def _has(table: AnyTable | View, options: Options, role: str) -> bool:
    return roles_of(table, options)[role] in table.columns


def _item_tables(source: Source, options: Options, tables: Sequence[AnyTable | View]) -> list[AnyTable]:
    """Return tables with an item and a title and no user; items may have another name for their id there."""
    found = [table for table in source.tables if table not in tables]
    return [table for table in found if _key(table, options) and roles_of(table, options)["title"] in table.columns]


def _key(table: AnyTable, options: Options) -> str | None:
    """Return the column with the item's id in a table of items."""
    name = roles_of(table, options)["item"]
    if name in table.columns:
        return name
    usual = roles_of(table, Options())["item"]
    return usual or next((column for column in table.columns if column.lower() == "id"), None)


def _events(tables: Sequence[AnyTable | View], options: Options, tally: Tally) -> Iterator[Interaction]:
    for table in tables:
        roles = roles_of(table, options)
        user, item, rating, time = (roles[role] for role in HEADLESS)
        for role in ("rating", "timestamp"):
            if options.columns.get(role) and options.columns[role] not in table.columns:
                raise SourceError(
                    f"{table.name} has no column {options.columns[role]!r}: it has {', '.join(table.columns)}"
                )
        unused = [name for name in table.columns if name and name not in roles.values()]
        if time is None and unused:
            tally.note(
                f"{table.name} has no column with a usual name for times; if one of {', '.join(unused)} holds them, "
                "say --column timestamp=NAME."
            )
        for line, row in table.rows():
            who, what = as_id(row.get(user or "")), as_id(row.get(item or ""))
            where = f"{table.name}, line {line}"
            if who is None or what is None:
                tally.count("interactions")
                tally.drop("row without a user or an item", where)
                continue
            when = row.get(time) if time else None
            if when not in (None, "") and as_time(when) is None:
                tally.count("interactions")
                tally.drop(UNREADABLE_TIME, f"{where}: {when!r}")
                continue
            stars = row.get(rating) if rating else None
            value = as_rating(stars)
            if value is None and not _is_missing(stars):
                if options.min_rating is not None:
                    tally.count("interactions")
                    tally.drop("row whose rating is no number", f"{where}: {stars!r}")
                    continue
                tally.note(f"Ratings that are no numbers, such as {stars!r} in {where}, are left out of histories.")
            yield Interaction(who, what, value, as_time(when))


def _is_missing(cell: Any) -> bool:
    """Tell whether a cell holds no value: empty, null or NaN."""
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def _items(tables: Sequence[AnyTable], options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    for table in tables:
        key, title = _key(table, options), roles_of(table, options)["title"]
        for line, row in table.rows():
            if (item := as_id(row.get(key or ""))) is None:
                tally.drop("item without an id", f"{table.name}, line {line}")
            else:
                fields = {name: value for name, value in row.items() if name not in (key, title)}
                yield item_row(item, as_title(row.get(title or "")), fields, options, None, tally)


def _title_of_rows(table: AnyTable | View, options: Options) -> str | None:
    """Return the column with an item's title beside its user; a bare "name" there may be the user's."""
    column = roles_of(table, options)["title"]
    return column if column and ("title" in options.columns or column.lower() != "name") else None


def _items_of_rows(tables: Sequence[AnyTable | View], options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    """Yield items with the first title that rows have for each, and note where rows disagree."""
    titles: dict[str, str] = {}
    differing: set[str] = set()
    for table in tables:
        key, column = roles_of(table, options)["item"] or "", _title_of_rows(table, options) or ""
        for _, row in table.rows():
            item, title = as_id(row.get(key)), as_title(row.get(column))
            if item is not None and title and titles.setdefault(item, title) != title:
                differing.add(item)
    if differing:
        tally.note(
            f"{len(differing):,} of {len(titles):,} items have several titles, and the first is taken: is the column "
            "the title of the item, and not of a review? --column title=NAME says another."
        )
    yield from ({"item_id": item, "title": title} for item, title in titles.items())


def _headless(source: Source) -> list[File]:
    return [file for file in source.files if file.kind == "csv" and not file.columns and _width(file)]


def _width(file: File) -> int:
    """Return how many cells a file without a header has: user, item and then numbers; 0 if it has others."""
    first = next((cells for _, cells in file.cells()), [])
    if not 2 <= len(first) <= 4 or not all(first):
        return 0
    return len(first) if all(as_number(cell) is not None for cell in first[2:]) else 0


def _named(file: File) -> View:
    """Return a file without a header as a table."""
    width = _width(file)
    names = [USUAL[role][0] for role in HEADLESS[:width]]

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, cells in file.cells():
            if len(cells) != width:
                raise SourceError(f"{file.name}, line {line}: {len(cells)} cells, but the first line has {width}")
            yield line, dict(zip(names, cells, strict=True))

    return View(file.name, tuple(names), rows)


def _seen(source: Source) -> str:
    """Return what the tables of a source are, in words."""
    return "; ".join(f"{table.name} has {', '.join(table.columns)}" for table in source.tables) or "there is no table"


IMPORTER = Importer(
    "interactions",
    "Tables of interactions",
    "a user and an item per row, better with rating and timestamp; a second table with titles",
    recognise,
    read,
)
