"""Plain tables of interactions, and how they become histories and splits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from minirec.data.importers import SourceError
from minirec.data.importers.interactions import UNREADABLE_TIME
from tests.unit.data.importers.conftest import Put, Run


def test_columns_with_usual_names_and_a_second_table_with_titles(run: Run, put: Put) -> None:
    folder = put(
        {
            "events.csv": "UserID;ProductID;Date\n5;7;2024-03-01\n5;8;2024-03-03T10:00:00+02:00\n5;9;soon\n",
            "products.csv": "ProductID;Name;Colour\n7;Lamp;red\n8;Desk;\n",
        }
    )
    found = run(folder, split="none")
    assert found.imported.format == "interactions"
    assert found.samples == [
        {
            "id": "5-1",
            "user_id": "5",
            "history": ["7"],
            "target": "8",
            "timestamp": datetime.fromisoformat("2024-03-03T08:00:00+00:00").timestamp(),
            "history_timestamps": [datetime.fromisoformat("2024-03-01T00:00:00+00:00").timestamp()],
        }
    ]
    assert found.items == [
        {"item_id": "7", "title": "Lamp", "Colour": "red"},
        {"item_id": "8", "title": "Desk"},
    ]
    assert found.imported.first_dropped[UNREADABLE_TIME] == "events.csv, line 4: 'soon'"


def test_columns_that_are_said(run: Run, put: Put) -> None:
    folder = put({"orders.tsv": 'kunde\tartikel\tbezeichnung\nk1\ta1\tLampe\nk1\ta2\t"Tisch ""Nord"""\n'})
    found = run(folder, columns={"user": "kunde", "item": "artikel", "title": "bezeichnung"})
    assert found.path("k1-1") == (["a1"], "a2")
    assert [item["title"] for item in found.items] == ["Lampe", 'Tisch "Nord"']


def test_a_column_that_is_not_there_is_named(run: Run, put: Put) -> None:
    folder = put({"orders.csv": "user,item,when\nk1,a1,1\nk1,a2,2\n"})
    with pytest.raises(SourceError, match=r"orders\.csv has no column 'wen': it has user, item, when"):
        run(folder, columns={"timestamp": "wen"})


def test_columns_that_nobody_knows_are_listed(run: Run, put: Put) -> None:
    with pytest.raises(SourceError, match=r"orders\.csv: csv, columns kunde, artikel(.|\n)*--column user=NAME"):
        run(put({"orders.csv": "kunde,artikel\nk1,a1\n"}))


def test_a_file_without_a_header_that_is_one_of_two_things_lists_both(run: Run, put: Put) -> None:
    folder = put({"log.tsv": "1\t10\t5\t881250949\n1\t11\t4\t881250950\n"})
    with pytest.raises(SourceError, match=r"several ways(.|\n)*--format interactions(.|\n)*--format sequences"):
        run(folder)
    found = run(folder, format="interactions")
    assert found.path("1-1") == (["10"], "11")
    assert found.samples[0]["timestamp"] == 881250950.0
    assert any("has no header" in note for note in found.imported.notes)


def test_a_row_with_another_number_of_cells_is_named(run: Run, put: Put) -> None:
    with pytest.raises(SourceError, match=r"orders\.csv, line 3: 3 cells, but the header has 2"):
        run(put({"orders.csv": "user,item\nk1,a1\nk1,a2,x\n"}))


def table(rows: int, users: int) -> dict[str, list[Any]]:
    return {
        "user": [row % users for row in range(rows)],
        "item": [row // users for row in range(rows)],
        "timestamp": [1_000_000_000 + row for row in range(rows)],
    }


def test_a_split_by_time_is_8_1_1_and_keeps_one_second_together(run: Run) -> None:
    found = run({"log": table(110, 10)})
    assert found.imported.splits == {"train": 80, "valid": 10, "test": 10}
    times = {
        split: [s["timestamp"] for s in found.samples if s["split"] == split] for split in ("train", "valid", "test")
    }
    assert max(times["train"]) < min(times["valid"]) < max(times["valid"]) < min(times["test"])
    same = table(110, 10)
    same["timestamp"] = [1_000_000_000 + row // 60 for row in range(110)]
    assert set(run({"log": same}).imported.splits) <= {"train", "test", "valid"}


def test_the_last_of_each_user_is_left_out_for_testing(run: Run) -> None:
    found = run({"log": table(50, 10)}, split="leave-one-out")
    assert found.imported.splits == {"train": 20, "valid": 10, "test": 10}
    assert {s["target"] for s in found.samples if s["split"] == "test"} == {"4"}


def test_users_and_items_with_few_interactions_are_left_out_until_none_is(run: Run) -> None:
    users = ["a", "a", "b", "b", "c", "c", "a", "d"]
    items = ["x", "y", "x", "y", "x", "z", "z", "z"]
    found = run({"log": {"user": users, "item": items}}, min_interactions=2)
    kept = {(s["user_id"], item) for s in found.samples for item in (*s["history"], s["target"])}
    assert kept == {("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("c", "z"), ("a", "z")}
    assert found.imported.dropped["interaction of a user or item with fewer than 2"] == 1


def test_unrated_interactions_stay_and_a_window_cuts(run: Run) -> None:
    rows = [{"user": "u", "item": f"i{n}", "rating": rating} for n, rating in enumerate((5, None, 1, 4, float("nan")))]
    found = run(rows, min_rating=4, window=2)
    assert [(s["history"], s["target"], s["ratings"]) for s in found.samples] == [
        (["i0"], "i1", [5.0]),
        (["i0", "i1"], "i3", [5.0, None]),
        (["i1", "i3"], "i4", [None, 4.0]),
    ]


COLUMNS = {"user_id": [1, 1, 2], "item_id": [10, 11, 10], "timestamp": pd.to_datetime(["2024-01-01"] * 3)}
HELD: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "polars": lambda: pl.DataFrame({**COLUMNS, "timestamp": list(COLUMNS["timestamp"].to_pydatetime())}),
    "pyarrow": lambda: pa.Table.from_pandas(pd.DataFrame(COLUMNS)),
    "rows": lambda: pd.DataFrame(COLUMNS).to_dict("records"),
    "columns": lambda: (
        {name: np.array(values) for name, values in COLUMNS.items() if name != "timestamp"}
        | {"timestamp": np.array([1704067200] * 3)}
    ),
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_tables_in_memory_give_the_same(run: Run, held: Callable[[], Any]) -> None:
    items = pd.DataFrame({"item_id": [10, 11, 12], "title": ["Ten", "Eleven", float("nan")]})
    found = run({"log": held(), "items": items}, split="none")
    assert found.samples == [
        {
            "id": "1-1",
            "user_id": "1",
            "history": ["10"],
            "target": "11",
            "timestamp": 1704067200.0,
            "history_timestamps": [1704067200.0],
        }
    ]
    assert found.imported.dropped == {
        "item without a title": 1,
        "user with one interaction: there is no history before it": 1,
    }


def test_titles_in_the_rows_that_differ_for_one_item_are_noted(run: Run) -> None:
    rows = [{"user": "u", "item": item, "title": title} for item, title in (("a", "A"), ("b", "Great!"), ("b", "Bad"))]
    found = run({"log": rows})
    assert [item["title"] for item in found.items] == ["A", "Great!"]
    assert any(note.startswith("1 of 2 items have several titles") for note in found.imported.notes)


def test_a_name_beside_a_user_is_not_the_items_title(run: Run) -> None:
    rows = [{"user": "u", "name": "Ann", "item": item} for item in "ab"]
    assert {item["title"] for item in run({"log": rows}).items} == {"a", "b"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_and_line_ends_of_other_systems(run: Run, put: Put, encoding: str) -> None:
    text = "user_id,item_id,title\r\n1,10,Caf\u00e9\r\n\r\n1,11,Tee\r\n"
    found = run(put({"log.csv": text.encode(encoding)}))
    assert [item["title"] for item in found.items] == ["Café", "Tee"]


def test_the_index_that_pandas_writes_is_no_obstacle(run: Run, put: Put) -> None:
    csv = pd.DataFrame({"user_id": [1, 1], "item_id": [10, 11], "title": ["A, B", 'C "D"\nE']}).to_csv()
    found = run(put({"log.csv": csv}))
    assert [item["title"] for item in found.items] == ["A, B", 'C "D" E']


def test_a_table_whose_times_have_an_unusual_name_is_noted(run: Run, put: Put) -> None:
    rows = "a,1,1700000200\na,2,1700000100\na,3,1700000300\n"
    source = put({"events.csv": "user,item,clicked\n" + rows})
    found = run(source, split="none")
    assert found.samples[-1]["history"] == ["1", "2"]
    assert any("if one of clicked holds them, say --column timestamp=NAME" in note for note in found.imported.notes)
    found = run(source, split="none", columns={"timestamp": "clicked"})
    assert found.samples[-1]["history"] == ["2", "1"]
    assert not any("--column timestamp" in note for note in found.imported.notes)


def test_a_table_of_a_german_spreadsheet(run: Run, put: Put) -> None:
    rows = "k1;a1;02.10.2015 08:30;3,5\nk1;a2;3.10.2015;4,0\nk1;a3;4.10.2015, 09:15:30;2,5\nk1;a4;31.2.2016;5,0\n"
    folder = put({"orders.csv": "\ufeffuser;item;date;rating\n" + rows})
    found = run(folder, split="none", min_rating=3)
    assert [sample["ratings"] for sample in found.samples] == [[3.5]]
    assert found.samples[0]["history_timestamps"] == [datetime.fromisoformat("2015-10-02T08:30:00+00:00").timestamp()]
    assert found.imported.dropped == {"interaction rated below 3": 1, UNREADABLE_TIME: 1}
    assert found.imported.first_dropped[UNREADABLE_TIME] == "orders.csv, line 5: '31.2.2016'"


def test_dates_whose_day_and_month_may_be_exchanged_are_refused(run: Run, put: Put) -> None:
    folder = put({"orders.csv": "user,item,date\nk1,a1,3/4/2020\nk1,a2,3/5/2020\n"})
    with pytest.raises(
        SourceError, match=r"2 x row whose time .*ISO 8601.* \(first: orders\.csv, line 2: '3/4/2020'\)"
    ):
        run(folder)


def test_dates_as_numbers(run: Run, put: Put) -> None:
    found = run(put({"orders.csv": "user,item,date\nk1,a1,20200131\nk1,a2,20200301.0\n"}), split="none")
    assert [datetime.fromtimestamp(at, UTC).date().isoformat() for at in found.samples[0]["history_timestamps"]] == [
        "2020-01-31"
    ]
    assert datetime.fromtimestamp(found.samples[0]["timestamp"], UTC).date().isoformat() == "2020-03-01"
    assert any("read as dates" in note for note in found.imported.notes)


def test_numbers_that_are_no_dates_stay_seconds(run: Run, put: Put) -> None:
    found = run(put({"orders.csv": "user,item,time\nk1,a1,20200131\nk1,a2,20201399\n"}), split="none")
    assert found.samples[0]["timestamp"] == 20201399


def test_seconds_among_milliseconds_are_read_by_their_size(run: Run, put: Put) -> None:
    folder = put({"orders.csv": "user,item,time\nk1,a1,1600000000\nk1,a2,1600000100000\nk1,a3,1600000200\n"})
    found = run(folder, split="none")
    assert found.path("k1-2") == (["a1", "a2"], "a3")
    assert found.samples[-1]["history_timestamps"] == [1_600_000_000, 1_600_000_100]
    assert "Times were read as milliseconds, but 2 of them as seconds, by their size." in found.imported.notes


def test_ratings_that_are_no_numbers_are_not_taken_for_unrated(run: Run, put: Put) -> None:
    rows = "k1,a1,good,1\nk1,a2,4,2\nk1,a3,NaN,3\nk1,a4,,4\nk1,a5,2,5\n"
    folder = put({"orders.csv": "user,item,rating,time\n" + rows})
    found = run(folder, split="none", min_rating=3)
    assert found.imported.dropped == {"row whose rating is no number": 1, "interaction rated below 3": 1}
    assert found.imported.first_dropped["row whose rating is no number"] == "orders.csv, line 2: 'good'"
    assert "2 interactions have no rating, and stay." in found.imported.notes
    found = run(folder, split="none")
    assert found.imported.written["samples"] == 4
    assert any("'good' in orders.csv, line 2" in note for note in found.imported.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        ("user,item\n1,2\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        (b"user,item,user\n1,2,3\n", "'user' more than once"),
        (b"\x89PNG\r\n\0\0\0\r", "binary"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(run: Run, put: Put, content: bytes, said: str) -> None:
    folder = put({"other.csv": "x,y\na,b\n"})
    (folder / "data.csv").write_bytes(content)
    with pytest.raises(SourceError, match=f"data.csv: .*{said}"):
        run(folder)
