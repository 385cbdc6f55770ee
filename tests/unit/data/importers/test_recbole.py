"""RecBole atomic files."""

from __future__ import annotations

import pytest

from minirec.data.importers import SourceError
from tests.unit.data.importers.conftest import Put, Run

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
    f"{user}\t{item}\t{rating}\t{time}\n"
    for user, item, rating, time in (
        (7, 30, 5, 300),
        (7, 10, 4, 100),
        (7, 20, 2, 200),
        (7, 40, 4, 400),
        (8, 10, 5, 150),
        (8, 99, 5, 160),
        (9, 20, 5, 170),
    )
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tscores:float_seq\n"
    '10\tDas "Boot"\t1981\tDrama War\t1.5 2\n'
    "20\tHeat\t1995\tCrime\t\n"
    "30\tRonin\t1998\t\t3\n"
    "40\t\t1999\tCrime\t4\n"
)


def test_interactions_become_histories_oldest_first_and_what_is_left_out_is_counted(run: Run, put: Put) -> None:
    folder = put({"films.inter": INTER, "films.item": ITEM, "films.user": "user_id:token\n7\n"})
    found = run(folder, min_rating=3.0, split="none")
    assert found.imported.format == "recbole"
    assert found.samples == [
        {
            "id": "7-1",
            "user_id": "7",
            "history": ["10"],
            "target": "30",
            "timestamp": 300.0,
            "history_timestamps": [100.0],
            "ratings": [4.0],
        }
    ]
    assert found.items[0] == {
        "item_id": "10",
        "title": 'Das "Boot"',
        "release_year": 1981,
        "class": ["Drama", "War"],
        "scores": [1.5, 2.0],
    }
    assert found.imported.dropped == {
        "item without a title": 1,
        "interaction rated below 3": 1,
        "interaction with an item that is not in the catalogue": 2,
        "user with one interaction: there is no history before it": 2,
    }
    assert found.imported.read == {"interactions": 7, "users": 1}
    assert any("films.user" in note for note in found.imported.notes)


def test_interactions_alone_have_ids_for_titles_and_say_so(run: Run, put: Put) -> None:
    found = run(put({"films.inter": INTER}))
    assert {item["title"] for item in found.items} == {"10", "20", "30", "40", "99"}
    assert any("no titles" in note for note in found.imported.notes)


def test_benchmark_files_keep_their_histories_and_splits(run: Run, put: Put) -> None:
    head = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    folder = put({"f.train.inter": head + "7\t10 20\t30\n", "f.test.inter": head + "7\t10 20 30\t10\n", "f.item": ITEM})
    found = run(folder, window=2)
    assert [(s["history"], s["target"], s["split"]) for s in found.samples] == [
        (["20", "30"], "10", "test"),
        (["10", "20"], "30", "train"),
    ]


def test_a_line_with_too_few_cells_is_named(run: Run, put: Put) -> None:
    with pytest.raises(SourceError, match=r"films\.inter, line 9: 2 cells, but the header has 4"):
        run(put({"films.inter": INTER + "7\t10\n"}))


def test_two_data_sets_in_one_folder_are_not_mixed(run: Run, put: Put) -> None:
    with pytest.raises(SourceError, match="several data sets"):
        run(put({"a.inter": INTER, "b.inter": INTER}))
