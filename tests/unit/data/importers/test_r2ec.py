"""Data sets of R2ec, and other folders that `save_to_disk` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.importers.conftest import Run

datasets = pytest.importorskip("datasets")

ITEM_INFO: list[dict[str, Any]] = [
    {"item_id": 0, "title": None, "parent_asin": "", "features": [], "store": None, "price": None},
    {"item_id": 1, "title": "Drum", "parent_asin": "B01", "features": ["loud"], "store": "Pearl", "price": "12.5"},
    {"item_id": 2, "title": "Stick", "parent_asin": "B02", "features": ["long"], "store": "Pearl", "price": None},
    {"item_id": 3, "title": "Cymbal", "parent_asin": "B03", "features": [], "store": None, "price": None},
]


def row(history: list[int], target: int, time: int) -> dict[str, Any]:
    return {
        "user_id": "AF1",
        "history_item_id": history,
        "item_id": target,
        "history_item_title": [ITEM_INFO[item]["title"] for item in history],
        "item_title": ITEM_INFO[target]["title"],
        "history_rating": [5.0] * len(history),
        "rating": 4.0,
        "history_timestamp": [time - 1_000 * place for place in range(len(history), 0, -1)],
        "timestamp": time,
        "interaction_id": time,
    }


def saved(tmp_path: Path) -> Path:
    parts = {
        "train": [row([0, 0, 1], 2, 1_600_000_000_000)],
        "valid": [row([1, 2], 3, 1_600_000_100_000)],
        "test": [row([0], 3, 1_600_000_100_000)],
        "item_info": ITEM_INFO,
    }
    folder = tmp_path / "Instruments_0_2022-10-2023-10"
    made = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    made.save_to_disk(str(folder), num_shards={"train": 1, "valid": 1, "test": 1, "item_info": 2})
    return folder


def check(found: Any) -> None:
    assert found.imported.format == "r2ec"
    assert [(s["id"], s["history"], s["target"], s["split"]) for s in found.samples] == [
        ("AF1-1", ["1"], "2", "train"),
        ("AF1-2", ["1", "2"], "3", "valid"),
    ]
    assert found.samples[1]["history_timestamps"] == [1_600_000_098.0, 1_600_000_099.0]
    assert found.imported.dropped == {
        "item that only fills histories up (pad)": 1,
        "row without a history or target that can be read": 1,
    }
    assert [item["item_id"] for item in found.items] == ["1", "2", "3"]
    assert found.items[0] == {"item_id": "1", "title": "Drum", "parent_asin": "B01", "store": "Pearl", "price": "12.5"}


def test_a_folder_of_save_to_disk_with_shards_and_a_pad_item(run: Run, tmp_path: Path) -> None:
    check(run(saved(tmp_path)))


def test_the_same_in_memory(run: Run, tmp_path: Path) -> None:
    check(run(datasets.load_from_disk(str(saved(tmp_path)))))


def test_any_dataset_of_interactions_on_disk(run: Run, tmp_path: Path) -> None:
    rows = [{"user_id": 1, "item_id": item, "title": f"Song {item}", "rating": 5} for item in (4, 5, 6)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "songs"))
    found = run(tmp_path / "songs")
    assert found.imported.format == "interactions"
    assert [s["split"] for s in found.samples] == ["valid", "test"]
    assert found.items[0] == {"item_id": "4", "title": "Song 4"}
