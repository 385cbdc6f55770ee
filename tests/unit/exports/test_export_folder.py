"""Every export is complete, in order, the same every time, and says what a trainer would do to it."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from zipfile import ZipFile

import orjson
import pyarrow.parquet as pq
import pytest

from minirec.api_schemas.exports import ExportFormat
from minirec.data.dataset import Dataset
from minirec.data.exports import TARGETS, Pick, Row, Target, build_rows
from minirec.data.exports.target import DataFile
from tests.unit.exports.conftest import SELECTION, STAGES, Export, written


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_bytes()))


def test_rows_are_the_picked_samples_in_training_order(dataset: Dataset, picks: list[Pick], rows: list[Row]) -> None:
    assert [row.id for row in rows] == [dataset.ids[pick.row] for pick in picks]
    assert [row.position for row in rows] == list(range(sum(STAGES)))
    for row, pick in zip(rows, picks, strict=True):
        target = dataset.items[dataset.sample(pick.row).target]
        assert (row.pick, row.index, row.item_id, row.answer) == (pick, pick.row, target["item_id"], target["title"])


def test_the_prompt_asks_for_a_title_and_does_not_give_it_away(dataset: Dataset, rows: list[Row]) -> None:
    for row in rows:
        sample = dataset.sample(row.index)
        shown = [dataset.items[item]["title"] for item in sample.history[-3:]]
        told = [line for line in row.messages[0]["content"].splitlines() if line.startswith("- ")]
        assert [line.partition(": ")[2] for line in told] == shown
        assert "write its title between <answer> and </answer>" in row.messages[0]["content"]
        assert isinstance(row.answer, str)
        assert row.answer not in row.messages[0]["content"]


@pytest.mark.parametrize("format", TARGETS)
def test_the_same_selection_gives_the_same_bytes(rows: list[Row], format: ExportFormat) -> None:
    once = written(rows, format, batch_size=4)
    assert written(list(rows), format, batch_size=4) == once
    assert written(rows[::-1], format, batch_size=4) != once


@pytest.mark.parametrize("format", TARGETS)
def test_the_manifest_has_a_hash_of_every_other_file(export: Export, format: ExportFormat) -> None:
    folder = export(format)
    manifest = manifest_of(folder)
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert "README.md" in manifest["files"]
    for name, told in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert (told["bytes"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("format", TARGETS)
def test_the_manifest_says_where_the_rows_come_from(export: Export, format: ExportFormat) -> None:
    manifest = manifest_of(export(format, batch_size=11))
    assert (manifest["format"], manifest["selection"]) == (format, SELECTION)
    assert manifest["counts"] == {"rows": 11, "stages": list(STAGES)}
    assert manifest["prompt"] == {"version": "1", "window": 3}
    assert manifest["batch_size"] == 11
    assert set(manifest["library_versions"]) == {"minirec", "pyarrow"}


@pytest.mark.parametrize("format", TARGETS)
def test_the_zip_file_holds_plain_files_without_dates(rows: list[Row], format: ExportFormat) -> None:
    with ZipFile(io.BytesIO(written(rows, format))) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644


def test_json_lines_and_parquet_say_the_same(export: Export, rows: list[Row]) -> None:
    found = lines(export("jsonl") / "train.jsonl")
    assert pq.read_table(export("parquet") / "train.parquet").to_pylist() == found
    for line, row in zip(found, rows, strict=True):
        assert line == {
            "id": row.id,
            "prompt": row.messages,
            "answer": row.answer,
            "item_id": row.item_id,
            "source": "shop/clicks",
            "position": row.position,
            "rank": row.pick.rank,
            "stage": row.pick.stage,
            "scores": row.scores,
        }


def test_ids_come_with_their_stages(export: Export, rows: list[Row]) -> None:
    content = json.loads((export("ids") / "ids.json").read_bytes())
    assert content == {"ids": [row.id for row in rows], "stages": [0] * 4 + [1] * 4 + [2] * 3}


@pytest.mark.parametrize("format", ["trl", "verl", "slime", "nemo-rl", "ms-swift", "jsonl", "parquet", "csv", "ids"])
@pytest.mark.parametrize(
    ("batch_size", "lost", "sizes"), [(4, "the last 3", "8 or 12"), (9, "the last 2", "9 or 18"), (12, "all", "12")]
)
def test_rows_that_fill_no_batch_are_warned_about(
    export: Export, format: ExportFormat, batch_size: int, lost: str, sizes: str
) -> None:
    folder = export(format, batch_size=batch_size)
    (warning,) = manifest_of(folder)["warnings"]
    assert f"11 rows are no multiple of a batch of {batch_size}" in warning
    assert f"here {lost}" in warning
    assert f"select {sizes} samples" in warning
    assert warning in (folder / "README.md").read_text()


@pytest.mark.parametrize("format", ["trl", "verl", "slime", "nemo-rl", "ms-swift", "jsonl", "parquet", "csv", "ids"])
@pytest.mark.parametrize("batch_size", [None, 1, 11])
def test_full_batches_are_nothing_to_warn_about(export: Export, format: ExportFormat, batch_size: int | None) -> None:
    folder = export(format, batch_size=batch_size)
    assert manifest_of(folder)["warnings"] == []
    assert "Warnings" not in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("format", "flags"),
    [
        ("trl", ["shuffle_dataset=False", "generation_batch_size=8 * 16"]),
        ("verl", ["data.shuffle=False", "data.train_batch_size=16", "data.filter_overlong_prompts=False"]),
        ("slime", ["--rollout-batch-size 16", "Leave out `--rollout-shuffle`", "--apply-chat-template"]),
        ("nemo-rl", ["shuffle: false", "num_prompts_per_step: 16", "dataset_name: ResponseDataset"]),
        ("ms-swift", ["--dataset_shuffle false", "--split_dataset_ratio 0", "$((8 * 16))"]),
        ("llama-factory", ["--disable_shuffling true", "--packing false"]),
        ("openrlhf", ["for stage in stage_*.jsonl", "--rollout.batch_size 16", "--rollout_batch_size"]),
    ],
)
def test_the_readme_has_the_flags_that_keep_the_order(export: Export, format: ExportFormat, flags: list[str]) -> None:
    text = (export(format, batch_size=16) / "README.md").read_text()
    assert [flag for flag in flags if flag not in text] == []


@pytest.mark.parametrize("format", TARGETS)
def test_the_readme_leaves_no_place_unfilled(export: Export, format: ExportFormat) -> None:
    text = (export(format, batch_size=16) / "README.md").read_text()
    assert "# sel_1 for" in text
    assert "{" not in text.replace("${stage%.jsonl}", "")
    assert "None" not in text


def test_titles_and_ids_of_any_script_arrive_as_they_are(rows: list[Row]) -> None:
    odd = [replace(row, id='a"\n☃', answer="Amélie – \U0001f600") for row in rows]
    files: dict[ExportFormat, str] = {"jsonl": "train.jsonl", "openrlhf": "scores.jsonl", "ids": "ids.json"}
    for format, name in files.items():
        with ZipFile(io.BytesIO(written(odd, format))) as archive:
            content = archive.read(name)
        parsed = orjson.loads(content.splitlines()[0])
        assert odd[0].id in (parsed.get("id"), *parsed.get("ids", ()))


def test_every_name_of_a_format_has_a_target_and_every_target_a_name() -> None:
    assert set(TARGETS) == set(get_args(ExportFormat))
    assert {name: target.format for name, target in TARGETS.items()} == {name: name for name in TARGETS}


def test_a_target_needs_nothing_but_itself(export: Export, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """All that an export says of a target is in its one object."""
    another: Any = "another"
    target = Target(
        format=another,
        title="Another trainer",
        files=lambda kind, rows: iter([DataFile(f"{kind}.txt", len(rows), iter([b"content"]))]),
        recipe=lambda context: f"{context.batch} prompts, from {context.sources}.\n",
        checked_with="another 1.0",
        warnings=lambda rows, batches: [f"{batches.rows} rows in {len(batches.stages)} stages."],
    )
    monkeypatch.setitem(TARGETS, another, target)
    folder = export("another", batch_size=4)
    manifest, text = manifest_of(folder), (folder / "README.md").read_text()
    assert (folder / "interactions.txt").read_bytes() == b"content"
    assert (manifest["checked_with"], manifest["warnings"]) == ("another 1.0", ["11 rows in 3 stages."])
    assert "# sel_1 for Another trainer" in text
    assert "4 prompts, from `shop/clicks`." in text
    assert "Checked by loading it with the classes of another 1.0." in text
    assert "- 11 rows in 3 stages." in text


def test_the_table_of_the_docs_has_a_row_for_every_target() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text()
    table = page.partition("| format | chat |")[2].partition("\n\n")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(TARGETS)


def test_without_a_name_verl_gets_no_made_up_source(dataset: Dataset, picks: list[Pick]) -> None:
    nameless = build_rows(dataset, picks, window=3, source=None)
    with pytest.raises(ValueError, match="the dataset has no name"):
        written(nameless, "verl")
