"""Amazon Reviews as published: 2023 (parent_asin), 2018 and 2014 (asin), and the CSV with ratings only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.catalogue import AMAZON_FIELDS, item_row
from minirec.data.importers.errors import SourceError
from minirec.data.importers.history_rows import HISTORY, TARGET, samples_of
from minirec.data.importers.sources import AnyTable, File, Source, View, split_of
from minirec.data.importers.values import as_id, as_number, as_title

MIN_RATING_CELLS = 4


@dataclass(frozen=True)
class Names:
    """What one year's files call their columns."""

    user: str
    item: str
    rating: str
    time: str


NAMES: Mapping[str, Names] = {
    "2023": Names("user_id", "parent_asin", "rating", "timestamp"),
    "2018": Names("reviewerID", "asin", "overall", "unixReviewTime"),
}


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise reviews by their columns, and ratings without a header by their cells."""
    year, reviews = _reviews(source)
    if reviews:
        items = _metadata(source, year)
        found = f"Amazon {year} reviews in {', '.join(table.name for table in reviews)}"
        return Match(found + (f"; items in {', '.join(t.name for t in items)}" if items else "; no file of items"))
    files = _headless(source)
    return Match(f"Amazon ratings without a header in {files[0].name}") if files else None


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read reviews and metadata. Reviews that one user wrote about variants of one product are about its parent."""
    year, reviews = _reviews(source)
    items = _items(_metadata(source, year), NAMES[year].item, options, tally) if reviews else None
    if not reviews:
        files = _headless(source)
        if not files:
            raise SourceError(f"{source.name} has no reviews of Amazon")
        metadata = [*_metadata(source, "2018"), *_metadata(source, "2023")]
        items = _items(metadata, "asin" if _metadata(source, "2018") else "parent_asin", options, tally)
        return Contents(items if metadata else None, interactions=_ratings(files))
    if not _metadata(source, year):
        items = None
    if all("history" in table.columns for table in reviews):
        return _with_histories(reviews, NAMES[year], items, options, tally)
    if len(reviews) > 1 and all(split_of(table.name) for table in reviews):
        tally.note("The files' own splits were joined; --split says how samples are split.")
    return Contents(items, interactions=_events(reviews, NAMES[year], tally))


def _reviews(source: Source) -> tuple[str, list[AnyTable]]:
    for year, names in NAMES.items():
        found = [table for table in source.tables if {names.user, names.item, names.rating} <= set(table.columns)]
        if found:
            return year, found
    return "2023", []


def _metadata(source: Source, year: str) -> list[AnyTable]:
    names = NAMES[year]
    return [t for t in source.tables if {names.item, "title"} <= set(t.columns) and names.user not in t.columns]


def _events(reviews: list[AnyTable], names: Names, tally: Tally) -> Iterator[Interaction]:
    for table in reviews:
        for line, row in table.rows():
            user, item = as_id(row.get(names.user)), as_id(row.get(names.item))
            if user is None or item is None:
                tally.drop("review without a user or a product", f"{table.name}, line {line}")
            else:
                yield Interaction(user, item, as_number(row.get(names.rating)), as_number(row.get(names.time)))


def _items(tables: list[AnyTable], key: str, options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    for table in tables:
        for line, row in table.rows():
            if (item := as_id(row.get(key))) is None:
                tally.drop("item without an id", f"{table.name}, line {line}")
            else:
                fields = {name: value for name, value in row.items() if name != key and value != "None"}
                yield item_row(item, as_title(row.get("title")), fields, options, AMAZON_FIELDS, tally)


def _with_histories(
    reviews: list[AnyTable], names: Names, items: Iterator[dict[str, Any]] | None, options: Options, tally: Tally
) -> Contents:
    """Read the benchmark files whose rows have the history as ids with spaces between; the first of a user has none."""
    catalogue = list(items) if items is not None else None
    known = {row["item_id"] for row in catalogue} if catalogue is not None else None
    columns = {"user_id": names.user, TARGET: names.item, HISTORY: "history", "rating": names.rating}
    columns["timestamp"] = names.time

    def view(table: AnyTable) -> View:
        def rows() -> Iterator[tuple[int, dict[str, Any]]]:
            for line, row in table.rows():
                yield line, {name: row.get(column) for name, column in columns.items()}

        return View(table.name, tuple(columns), rows)

    return Contents(
        catalogue,
        samples=samples_of([view(table) for table in reviews], known, (), options, tally),
        rating_column="rating",
    )


def _headless(source: Source) -> list[File]:
    """Return the ratings-only files: no header, four cells, of which one looks like Amazon's id of a product."""
    return [file for file in source.files if file.kind == "csv" and not file.columns and _order(file) is not None]


def _order(file: File) -> tuple[int, int] | None:
    """Return the cells of the user and the product: 2018 has the product first, 2014 the user."""
    cells = next((found for _, found in file.cells()), [])
    if len(cells) != MIN_RATING_CELLS or as_number(cells[2]) is None or as_number(cells[3]) is None:
        return None
    products = [len(cell) == 10 and cell.isalnum() and cell.upper() == cell for cell in cells[:2]]
    users = [len(cell) > 10 and cell.startswith("A") and cell.isalnum() for cell in cells[:2]]
    if products[0] and users[1]:
        return 1, 0
    return (0, 1) if users[0] and products[1] else None


def _ratings(files: list[File]) -> Iterator[Interaction]:
    for file in files:
        order = _order(file)
        assert order is not None
        for number, cells in file.cells():
            if len(cells) != MIN_RATING_CELLS:
                raise SourceError(f"{file.name}, line {number}: {len(cells)} cells, but a rating has 4")
            user, item = cells[order[0]].strip(), cells[order[1]].strip()
            yield Interaction(user, item, as_number(cells[2]), as_number(cells[3]))


IMPORTER = Importer(
    "amazon",
    "Amazon Reviews 2014, 2018, 2023",
    "reviews with user_id and parent_asin, or reviewerID and asin; the metadata file for titles",
    recognise,
    read,
)
