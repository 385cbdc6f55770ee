"""Tables with a history and a target per row."""

from __future__ import annotations

import json

from tests.unit.data.importers.conftest import Put, Run


def test_our_own_rows_come_through_and_integer_ids_become_text(run: Run, put: Put) -> None:
    folder = put(
        {
            "samples.jsonl": json.dumps({"id": 1, "history": [5, 6], "target": 7, "timestamp": 1_600_000_000_000})
            + "\n",
            "items.jsonl": "".join(
                json.dumps({"item_id": i, "title": f"T{i}", "sid": f"<a_{i}>"}) + "\n" for i in (5, 6, 7)
            ),
        }
    )
    found = run(folder)
    assert found.imported.format == "histories"
    assert found.samples == [{"id": "1", "history": ["5", "6"], "target": "7", "timestamp": 1_600_000_000.0}]
    assert found.items[0] == {"item_id": "5", "title": "T5", "sid": "<a_5>"}


def test_columns_that_are_said(run: Run, put: Put) -> None:
    folder = put({"valid.csv": "who,seq,next\nu1,\"['a', 'b']\",c\nu1,a b c,d\n"})
    found = run(folder, columns={"user": "who", "history": "seq", "target": "next"})
    assert [(s["id"], s["history"], s["target"], s["split"]) for s in found.samples] == [
        ("u1-1", ["a", "b"], "c", "valid"),
        ("u1-2", ["a", "b", "c"], "d", "valid"),
    ]
