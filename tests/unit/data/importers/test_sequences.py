"""Texts of ids: `user item item ...` and `user item`."""

from __future__ import annotations

import json

import pytest

from minirec.data.importers import SourceError
from tests.unit.data.importers.conftest import Put, Run


def test_one_user_per_line_with_titles_and_semantic_ids_beside_it(run: Run, put: Put) -> None:
    pretrain = {
        str(i): {"sid": f"<s_a_{i}><s_b_1>", "title": f"Cream {i}", "categories": "Beauty > Skin"} for i in (11, 12, 13)
    }
    folder = put(
        {
            "sequential_data_processed.txt": "1 11 12 13\n2 13 11\n3 12\n",
            "Beauty.pretrain.json": json.dumps(pretrain),
        }
    )
    found = run(folder)
    assert found.imported.format == "sequences"
    assert found.path("1-2") == (["11", "12"], "13")
    assert {s["id"]: s["split"] for s in found.samples} == {"1-1": "valid", "1-2": "test", "2-1": "test"}
    assert found.items[0] == {
        "item_id": "11",
        "title": "Cream 11",
        "sid": "<s_a_11><s_b_1>",
        "categories": "Beauty > Skin",
    }
    assert found.imported.dropped == {"user with one interaction: there is no history before it": 1}


def test_pairs_of_user_and_item_are_ambiguous_until_the_format_is_given(run: Run, put: Put) -> None:
    folder = put({"Beauty.txt": "1 11\n1 12\n2 11\n2 13\n"})
    found = run(folder, format="sequences")
    assert found.path("1-1") == (["11"], "12")
    assert found.path("2-1") == (["11"], "13")


def test_prose_is_no_sequence(run: Run, put: Put) -> None:
    with pytest.raises(SourceError, match="nothing that is recognised"):
        run(put({"notes.txt": "This is a text.\nIt has words and no ids\n"}))
