"""MovieLens becomes next-item samples: chronological, liked items only, split by time, the same every time."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from minirec.data import movielens
from minirec.data.dataset import Dataset
from minirec.data.ingest import ingest
from minirec.data.movielens import Interaction, fetch_movielens, next_item_samples, read_items, write_movielens
from minirec.data.wheels import FetchError
from tests.unit.data.fixture_types import Publish

ITEMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
1\tToy Story\t1995\tAnimation Children's Comedy
2\tUsual Suspects, The\t1995\tCrime
3\tMisérables, Les\t1995\tDrama
4\tunkonwn\tunkonwn\tunknown
5\tHorseman on the Roof, The (Hussard sur le toit, Le)\t1995\tDrama
6\tStar Maker, The (Uomo delle stelle, L')\t1995\tDrama
7\tParis, Texas\t1984\tDrama
8\tMrs. Brown (Her Majesty, Mrs. Brown)\t1997\tDrama
9\t"Quoted"\t\tunknown
"""
INTERACTIONS = """user_id:token\titem_id:token\trating:float\ttimestamp:float
7\t2\t5\t300
7\t1\t4\t100
7\t3\t3\t150
7\t4\t5\t160
7\t5\t4\t300
8\t1\t5\t50
"""


@pytest.fixture
def raw(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "ml-100k.inter", tmp_path / "ml-100k.item"
    for path, text in zip(files, (INTERACTIONS, ITEMS), strict=True):
        path.write_text(text, encoding="utf-8")
    return files


def test_titles_read_as_people_say_them(raw: tuple[Path, Path]) -> None:
    assert {item["item_id"]: item["title"] for item in read_items(raw[1])} == {
        "1": "Toy Story (1995)",
        "2": "The Usual Suspects (1995)",
        "3": "Les Misérables (1995)",
        "5": "The Horseman on the Roof (Le Hussard sur le toit) (1995)",
        "6": "The Star Maker (L'Uomo delle stelle) (1995)",
        "7": "Paris, Texas (1984)",
        "8": "Mrs. Brown (Her Majesty, Mrs. Brown) (1997)",
        "9": '"Quoted"',
    }


def test_genres_are_lists(raw: tuple[Path, Path]) -> None:
    genres = {item["item_id"]: item["genres"] for item in read_items(raw[1])}
    assert genres["1"] == ["Animation", "Children's", "Comedy"]
    assert genres["9"] == []


def test_samples_are_chronological_and_hold_only_what_was_liked_and_has_a_title(
    raw: tuple[Path, Path], tmp_path: Path
) -> None:
    write_movielens(*raw, tmp_path)
    with gzip.open(tmp_path / "samples.jsonl.gz") as file:
        samples = [json.loads(line) for line in file]
    assert [(s["user_id"], s["history"], s["target"], s["ratings"], s["history_timestamps"]) for s in samples] == [
        ("7", ["1"], "2", [4.0], [100.0]),
        ("7", ["1", "2"], "5", [4.0, 5.0], [100.0, 300.0]),
    ]


def test_the_history_is_the_last_twenty_items() -> None:
    events = [Interaction("1", str(item), 5.0, item) for item in range(30)]
    samples = next_item_samples(events)
    assert len(samples) == 29
    assert samples[-1]["history"] == [str(item) for item in range(9, 29)]
    assert samples[-1]["target"] == "29"


def test_the_split_is_by_time_across_users_and_never_inside_a_second() -> None:
    events = [Interaction(str(user), str(item), 5.0, item // 2) for user in range(5) for item in range(41)]
    samples = next_item_samples(events)
    times = {split: {s["timestamp"] for s in samples if s["split"] == split} for split in ("train", "valid", "test")}
    assert max(times["train"]) < min(times["valid"])
    assert max(times["valid"]) < min(times["test"])
    counts = Counter(s["split"] for s in samples)
    assert counts["train"] / len(samples) == pytest.approx(0.8, abs=0.06)
    assert counts["valid"] / len(samples) == pytest.approx(0.1, abs=0.06)


def test_no_interactions_are_no_samples() -> None:
    assert next_item_samples([]) == []


def test_the_files_are_the_same_byte_for_byte(raw: tuple[Path, Path], tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write_movielens(*raw, folder)
    for name in ("samples.jsonl.gz", "items.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_fetched_once_and_kept(
    raw: tuple[Path, Path], tmp_path: Path, package_index: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {movielens.INTERACTIONS: raw[0].read_bytes(), movielens.ITEMS: raw[1].read_bytes()}
    package_index(movielens.WHEEL, members)
    monkeypatch.setattr(movielens, "SHA256", {name: hashlib.sha256(data).hexdigest() for name, data in members.items()})
    folder = tmp_path / "cache" / "movielens"
    steps: list[str] = []
    first = fetch_movielens(folder, on_step=steps.append)
    assert steps == ["downloading recbole==1.2.1 (2 MB)", "making next-item samples"]
    assert sorted(path.name for path in folder.iterdir()) == ["items.jsonl", "samples.jsonl.gz"]
    assert [path.name for path in folder.parent.iterdir()] == ["movielens"]
    assert fetch_movielens(folder, on_step=steps.append) == first
    assert len(steps) == 2


def test_a_failed_fetch_leaves_nothing(tmp_path: Path, package_index: Publish) -> None:
    with pytest.raises(FetchError):
        fetch_movielens(tmp_path / "cache" / "movielens")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_the_real_data_set_is_a_good_upload(tmp_path: Path) -> None:
    try:
        files = fetch_movielens(tmp_path / "movielens")
    except FetchError as error:
        if "could not download" in str(error):
            pytest.skip(f"the package index is not reachable: {error}")
        raise
    found = ingest(files.samples, files.items, tmp_path / "dataset")
    assert (found.n_samples, found.n_items, found.n_users) == (54_428, 1_681, 942)
    assert found.splits == {"train": 43_542, "valid": 5_443, "test": 5_443}
    dataset = Dataset.open(found.samples_path, found.items_path)
    assert dataset.items[0]["title"] == "Toy Story (1995)"
    ratings = dataset.sample(30_000).ratings
    assert ratings is not None
    assert all(rating is not None and rating >= 4 for rating in ratings)
