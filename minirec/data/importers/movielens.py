"""MovieLens as GroupLens publishes it: 100K (u.data), 1M and 10M (ratings.dat), 20M to 32M and latest (ratings.csv)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from minirec.data.importers.base import Contents, Importer, Interaction, Match, Options, Tally
from minirec.data.importers.catalogue import item_row
from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import File, Source
from minirec.data.importers.values import as_number
from minirec.data.movielens import natural_title

RATINGS = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}
MOVIES = {"u.item": "|", "movies.dat": "::", "movies.csv": ","}
GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
]
GENRES += ["Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise the names of MovieLens's files, and their cells."""
    ratings, movies = _named(source, RATINGS), _named(source, MOVIES)
    if ratings is None or ratings.kind != "csv":
        return None
    if ratings.plain_name == "ratings.csv" and ratings.columns[:2] != ("userId", "movieId"):
        return None
    return Match(f"{ratings.name}" + (f" and {movies.name}" if movies else ", without a file of movies"))


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read ratings and movies; titles are put as one says them: "The Usual Suspects (1995)"."""
    ratings, movies = _named(source, RATINGS), _named(source, MOVIES)
    if ratings is None:
        raise SourceError(f"{source.name} has none of {', '.join(RATINGS)}")
    items = _items(movies, options, tally) if movies else None
    return Contents(items, interactions=_events(ratings))


def _named(source: Source, names: dict[str, str]) -> File | None:
    return next((file for file in source.files if file.plain_name in names), None)


def _cells(file: File, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based line, cells); titles may hold whatever else separates cells."""
    if delimiter == ",":
        found = file.cells()
        next(found, None)
        yield from found
    else:
        for number, line in file.lines():
            yield number, line.split(delimiter)


def _events(file: File) -> Iterator[Interaction]:
    for number, cells in _cells(file, RATINGS[file.plain_name]):
        if len(cells) < 4:
            raise SourceError(f"{file.name}, line {number}: {len(cells)} cells, but a rating has 4")
        yield Interaction(cells[0].strip(), cells[1].strip(), as_number(cells[2]), as_number(cells[3]))


def _items(file: File, options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    for number, cells in _cells(file, MOVIES[file.plain_name]):
        if len(cells) < 3:
            raise SourceError(f"{file.name}, line {number}: {len(cells)} cells, but a movie has at least 3")
        if file.plain_name == "u.item":
            genres = [genre for genre, flag in zip(GENRES, cells[5:], strict=False) if flag == "1"]
        else:
            genres = cells[2].split("|")
        title = natural_title(cells[1].strip())
        year = _YEAR.search(title)
        fields = {
            "year": int(year[1]) if year else None,
            "genres": [genre for genre in genres if genre not in ("unknown", "(no genres listed)")],
        }
        if title == "unknown":
            tally.drop("item without a title", f"{file.name}, line {number}")
        else:
            yield item_row(cells[0].strip(), title, fields, options, None, tally)


IMPORTER = Importer(
    "movielens",
    "MovieLens",
    "u.data and u.item, ratings.dat and movies.dat, or ratings.csv and movies.csv",
    recognise,
    read,
)
