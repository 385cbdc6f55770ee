"""Amazon Reviews as published."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minirec.data.importers import SourceError
from tests.unit.data.importers.conftest import Put, Run


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def review_2023(user: str, item: str, rating: float, time: int) -> dict[str, Any]:
    return {
        "rating": rating,
        "title": "Fine",
        "text": "It is fine.",
        "images": [],
        "asin": f"V{item}",
        "parent_asin": item,
        "user_id": user,
        "timestamp": time,
        "helpful_vote": 0,
        "verified_purchase": True,
    }


META_2023 = lines(
    {
        "main_category": "Books",
        "title": "Dune &amp; <b>Sons</b>",
        "average_rating": 4.5,
        "rating_number": 10,
        "features": [],
        "images": [{"large": "http://x"}],
        "store": "Ace",
        "categories": ["Books", "Science Fiction"],
        "details": {"Pages": "600"},
        "price": None,
        "parent_asin": "B1",
    },
    {"title": "Emma", "parent_asin": "B2", "store": "Penguin", "average_rating": 4.0},
    {"title": "", "parent_asin": "B3"},
    {"title": "Emma again", "parent_asin": "B2"},
)


def test_reviews_of_2023_are_about_the_parent_and_have_milliseconds(run: Run, put: Put) -> None:
    reviews = lines(
        review_2023("U1", "B2", 4.0, 1_600_000_001_000),
        review_2023("U1", "B1", 5.0, 1_600_000_000_500),
        review_2023("U1", "B1", 5.0, 1_600_000_000_500),
        review_2023("U1", "B3", 5.0, 1_600_000_002_000),
    )
    found = run(put({"Books.jsonl.gz": reviews, "meta_Books.jsonl.gz": META_2023}), split="none")
    assert found.imported.format == "amazon"
    assert "2023" in found.imported.recognised
    (sample,) = found.samples
    assert (sample["history"], sample["target"]) == (["B1"], "B2")
    assert (sample["timestamp"], sample["history_timestamps"]) == (1_600_000_001.0, [1_600_000_000.5])
    assert found.items == [
        {
            "item_id": "B1",
            "title": "Dune & Sons",
            "average_rating": 4.5,
            "rating_number": 10,
            "store": "Ace",
            "categories": ["Books", "Science Fiction"],
        },
        {"item_id": "B2", "title": "Emma", "store": "Penguin", "average_rating": 4},
    ]
    assert found.imported.dropped == {
        "item without a title": 1,
        "item that came before, with the same id": 1,
        "interaction with an item that is not in the catalogue": 1,
        "interaction that came before: the same user, item and time": 1,
    }
    assert any("details, images, main_category." in note for note in found.imported.notes)
    assert "Times were read as milliseconds." in found.imported.notes


def test_all_fields_of_items_are_kept_when_asked(run: Run, put: Put) -> None:
    reviews = lines(review_2023("U1", "B1", 5.0, 1), review_2023("U1", "B2", 5.0, 2))
    found = run(put({"r.jsonl": reviews, "m.jsonl": META_2023}), item_fields=("*",))
    assert found.items[0]["details"] == {"Pages": "600"}
    found = run(put({"r.jsonl": reviews, "m.jsonl": META_2023}), item_fields=("store",))
    assert found.items[1] == {"item_id": "B2", "title": "Emma", "store": "Penguin"}


def test_reviews_of_2018_and_the_python_literals_of_2014(run: Run, put: Put) -> None:
    reviews = lines(
        {"overall": 5.0, "reviewerID": "A1", "asin": "0001", "unixReviewTime": 1_400_000_000, "vote": "2"},
        {"overall": 3.0, "reviewerID": "A1", "asin": "0002", "unixReviewTime": 1_400_086_400},
    )
    meta = "{'asin': '0001', 'title': 'Kind of Blue', 'categories': [['CDs', 'Jazz']], 'price': 9.99}\n"
    meta += "{'asin': '0002', 'title': \"It's Time\", 'brand': 'Impulse!'}\n"
    found = run(put({"reviews_CDs_5.json.gz": reviews, "meta_CDs.json.gz": meta}))
    assert found.items == [
        {"item_id": "0001", "title": "Kind of Blue", "categories": ["CDs", "Jazz"], "price": 9.99},
        {"item_id": "0002", "title": "It's Time", "brand": "Impulse!"},
    ]
    assert found.path("A1-1") == (["0001"], "0002")


@pytest.mark.parametrize(
    "ratings",
    [
        "0449819906,A1D5U0AAAA,5.0,1484265600\n0449819907,A1D5U0AAAA0001,4.0,1484265601\n",
        "A1D5U0AAAA0001,0449819906,5.0,1484265600\nA1D5U0AAAA0001,0449819907,4.0,1484265601\n",
    ],
    ids=["2018: product first", "2014: user first"],
)
def test_ratings_without_a_header(run: Run, put: Put, ratings: str) -> None:
    ratings = ratings.replace("A1D5U0AAAA,", "A1D5U0AAAA0001,")
    found = run(put({"Books.csv": ratings}))
    assert found.imported.format == "amazon"
    assert found.path("A1D5U0AAAA0001-1") == (["0449819906"], "0449819907")


def test_the_benchmark_files_with_histories_keep_their_splits(run: Run, put: Put) -> None:
    head = "user_id,parent_asin,rating,timestamp,history\n"
    folder = put(
        {
            "Books.train.csv.gz": head + "U1,B1,5.0,1600000000000,\nU1,B2,4.0,1600000001000,B1\n",
            "Books.test.csv.gz": head + "U1,B1,4.0,1600000002000,B1 B2\n",
            "meta_Books.jsonl.gz": META_2023,
        }
    )
    found = run(folder)
    assert [(s["history"], s["target"], s["split"], s["timestamp"]) for s in found.samples] == [
        (["B1", "B2"], "B1", "test", 1_600_000_002.0),
        (["B1"], "B2", "train", 1_600_000_001.0),
    ]
    assert found.imported.dropped["row without a history or target that can be read"] == 1


def test_nothing_left_says_why(run: Run, put: Put) -> None:
    with pytest.raises(
        SourceError, match=r"not one sample is left. Read: 1 interactions(.|\n)*1 x interaction rated below 4"
    ):
        run(put({"r.jsonl": lines(review_2023("U1", "B1", 1.0, 1)), "m.jsonl": META_2023}), min_rating=4.0)
