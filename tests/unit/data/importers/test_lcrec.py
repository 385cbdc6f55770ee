"""JSON of LC-Rec."""

from __future__ import annotations

import json

from tests.unit.data.importers.conftest import Put, Run

ITEMS = {
    str(item): {"title": f"Game {item}", "description": "long", "brand": "Nin", "categories": "Games,Switch"}
    for item in range(4)
}


def test_each_users_items_are_left_one_out(run: Run, put: Put) -> None:
    folder = put(
        {
            "Games/Games.inter.json": json.dumps({"0": [0, 1, 2, 3], "1": [3, 9], "2": {"a": 1}}),
            "Games/Games.item.json": json.dumps(ITEMS),
            "Games/Games.index.json": json.dumps({str(i): [f"<a_{i}>", "<b_0>", "<c_0>"] for i in range(4)}),
            "Games/Games.review.json": json.dumps({"(0, 1)": {"review": "good"}}),
        }
    )
    found = run(folder, window=2)
    assert found.imported.format == "lcrec"
    assert [(s["id"], s["history"], s["target"], s["split"]) for s in found.samples] == [
        ("0-1", ["0"], "1", "train"),
        ("0-2", ["0", "1"], "2", "valid"),
        ("0-3", ["1", "2"], "3", "test"),
    ]
    assert found.items[2] == {
        "item_id": "2",
        "title": "Game 2",
        "brand": "Nin",
        "categories": ["Games", "Switch"],
        "sid": "<a_2><b_0><c_0>",
    }
    assert found.imported.dropped == {
        "user whose items are no list of ids": 1,
        "interaction with an item that is not in the catalogue": 1,
        "user with one interaction: there is no history before it": 1,
    }
