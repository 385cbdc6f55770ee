"""CSV of MiniOneRec, ReRe and LatentR3: lists as Python literals, semantic ids, info and index files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from tests.unit.data.importers.conftest import Put, Run

ROWS: list[dict[str, Any]] = [
    {
        "user_id": "A1",
        "history_item_title": ["Stapler", 'Ruler 12" steel'],
        "item_title": "It's a pen",
        "history_item_id": [4, 0],
        "item_id": 7,
        "history_item_sid": ["<a_1><b_2><c_3>", "<a_1><b_2><c_4>"],
        "item_sid": "<a_5><b_0><c_0>",
        "history_rating": [5.0, 4.0],
        "rating": 5.0,
        "history_timestamp": [1_300_000_000, 1_300_086_400],
        "timestamp": 1_300_172_800,
    },
    {
        "user_id": "A1",
        "history_item_title": ["Stapler"],
        "item_title": 'Ruler 12" steel',
        "history_item_id": [4],
        "item_id": 0,
        "history_item_sid": ["<a_1><b_2><c_3>"],
        "item_sid": "<a_1><b_2><c_4>",
        "history_rating": [5.0],
        "rating": 4.0,
        "history_timestamp": [1_300_000_000],
        "timestamp": 1_300_086_400,
    },
]


def table(*rows: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    text = io.StringIO()
    names = [name for name in ROWS[0] if name not in without]
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: str(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def test_rows_keep_history_times_ratings_and_the_split_of_their_file(run: Run, put: Put) -> None:
    folder = put(
        {
            "data/train/Office_5_2016-2018.csv": table(ROWS[1]),
            "data/test/Office_5_2016-2018.csv": table(ROWS[0], ROWS[0]),
            "info/Office_5_2016-2018.txt": '<a_1><b_2><c_3>\tStapler\t4\n<a_1><b_2><c_4>\tRuler 12" steel\t0\n'
            "<a_5><b_0><c_0>\tIt's a pen\t7\n<a_5><b_0><c_0>\tNever bought\t9\n",
        }
    )
    found = run(folder)
    assert found.imported.format == "minionerec"
    assert [(s["id"], s["history"], s["target"], s["split"]) for s in found.samples] == [
        ("A1-1", ["4", "0"], "7", "test"),
        ("A1-2", ["4"], "0", "train"),
    ]
    assert found.samples[0]["ratings"] == [5.0, 4.0]
    assert found.samples[0]["history_timestamps"] == [1_300_000_000.0, 1_300_086_400.0]
    assert found.imported.dropped == {"row that came before": 1}
    assert found.items[0] == {"item_id": "4", "title": "Stapler", "sid": "<a_1><b_2><c_3>"}
    assert [item["title"] for item in found.items] == ["Stapler", 'Ruler 12" steel', "It's a pen", "Never bought"]
    assert any("4 items have 3 semantic ids" in note for note in found.imported.notes)


def test_index_and_item_files_give_semantic_ids_and_fields(run: Run, put: Put) -> None:
    folder = put(
        {
            "Office.csv": table(*ROWS, without=("history_item_sid", "item_sid")),
            "Office.index.json": json.dumps({"4": ["<a_9>", "<b_9>"], "0": ["<a_9>", "<b_8>"], "7": ["<a_7>"]}),
            "Office.item.json": json.dumps(
                {
                    "4": {"title": "Stapler", "description": "Staples.", "brand": "Acme", "categories": "Office, Desk"},
                    "0": {"title": "Ruler", "brand": ""},
                }
            ),
        }
    )
    found = run(folder)
    assert {item["item_id"]: item.get("sid") for item in found.items} == {
        "4": "<a_9><b_9>",
        "0": "<a_9><b_8>",
        "7": "<a_7>",
    }
    assert {item["item_id"]: item["title"] for item in found.items} == {"4": "Stapler", "0": "Ruler", "7": "It's a pen"}
    assert found.items[0]["brand"] == "Acme"


def test_rows_alone_are_enough(run: Run, put: Put) -> None:
    found = run(put({"train.csv": table(*ROWS, without=("history_item_sid", "item_sid"))}))
    assert {item["item_id"]: item["title"] for item in found.items} == {
        "4": "Stapler",
        "0": 'Ruler 12" steel',
        "7": "It's a pen",
    }
    assert found.imported.splits == {"train": 2}


def test_code_in_a_cell_is_not_run_and_is_left_out(run: Run, put: Put) -> None:
    bad = {**ROWS[1], "history_item_id": "[__import__('os').system('true')]"}
    found = run(put({"train.csv": table(ROWS[0], bad)}))
    assert found.imported.dropped == {"row without a history or target that can be read": 1}
    assert found.imported.first_dropped == {"row without a history or target that can be read": "train.csv, line 3"}
