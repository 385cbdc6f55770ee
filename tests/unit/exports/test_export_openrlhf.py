"""The OpenRLHF export is a file per stage, and loads in its own dataset class where OpenRLHF is installed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest

from minirec.data.dataset import answer_text
from minirec.data.exports import Row
from tests.unit.exports.conftest import STAGES, Export, written


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_stage_is_a_file_with_the_fields_of_openrlhf_0_11_2(export: Export, rows: list[Row]) -> None:
    folder = export("openrlhf")
    stages = sorted(folder.glob("stage_*.jsonl"))
    assert [path.name for path in stages] == ["stage_00.jsonl", "stage_01.jsonl", "stage_02.jsonl"]
    found = [lines(path) for path in stages]
    assert tuple(map(len, found)) == STAGES
    assert [line for stage in found for line in stage] == [
        {"input": row.messages, "label": row.answer, "datasource": "shop/clicks"} for row in rows
    ]


def test_the_side_file_names_the_sample_of_every_line(export: Export, rows: list[Row]) -> None:
    folder = export("openrlhf")
    for told, row in zip(lines(folder / "scores.jsonl"), rows, strict=True):
        line = lines(folder / told["file"])[told["line"] - 1]
        assert line["input"] == row.messages
        assert (told["id"], told["item_id"], told["position"]) == (row.id, row.item_id, row.position)
        assert (told["rank"], told["stage"]) == (row.pick.rank, row.pick.stage)
        assert {name: told[name] for name in row.scores} == row.scores


def test_without_a_name_there_is_no_made_up_source(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(written([replace(row, source=None) for row in rows], "openrlhf"))
    with ZipFile(tmp_path / "export.zip") as archive:
        line = json.loads(archive.read("stage_00.jsonl").splitlines()[0])
    assert set(line) == {"input", "label"}


def test_file_names_are_in_training_order_however_many_there_are(rows: list[Row], tmp_path: Path) -> None:
    many = [replace(rows[0], position=n, pick=replace(rows[0].pick, stage=n)) for n in range(101)]
    (tmp_path / "export.zip").write_bytes(written(many, "openrlhf"))
    with ZipFile(tmp_path / "export.zip") as archive:
        side = [json.loads(line) for line in archive.read("scores.jsonl").splitlines()]
        names = [name for name in archive.namelist() if name.startswith("stage_")]
    assert names == sorted(names)
    assert [line["file"] for line in side] == names
    assert (names[0], names[-1]) == ("stage_000.jsonl", "stage_100.jsonl")


def test_the_loss_of_order_within_a_stage_is_admitted(export: Export) -> None:
    folder = export("openrlhf")
    (warning,) = json.loads((folder / "manifest.json").read_bytes())["warnings"]
    assert "the order from easy to hard within a stage is lost" in warning


def test_stages_that_fill_no_rollout_batch_are_named(export: Export) -> None:
    folder = export("openrlhf", batch_size=4)
    _, warning = json.loads((folder / "manifest.json").read_bytes())["warnings"]
    assert "rollout batch of 4: stage 2 (3 rows)." in warning
    assert warning in (folder / "README.md").read_text()


@pytest.mark.parametrize("prefix", ["", "prompt_"], ids=["interactions", "prompts"])
def test_openrlhf_reads_every_stage(prefix: str, tokenizer: Any, request: pytest.FixtureRequest) -> None:
    export: Export = request.getfixturevalue(f"{prefix}export")
    rows: list[Row] = request.getfixturevalue(f"{prefix}rows")
    openrlhf = pytest.importorskip("openrlhf.datasets", reason="OpenRLHF is not installed", exc_type=ImportError)
    from openrlhf.datasets.utils import blending_datasets

    folder = export("openrlhf")
    parser = (Path(openrlhf.__file__).parents[1] / "cli" / "train_ppo_ray.py").read_text().replace("{prefix}", "actor")
    shown = re.findall(r"^ +(--[\w.]+)", (folder / "README.md").read_text(), re.MULTILINE)
    assert len(shown) == 10
    assert [flag for flag in shown if f'"{flag}"' not in parser] == []
    flags = SimpleNamespace(input_key="input", label_key="label", apply_chat_template=True)
    strategy = SimpleNamespace(args=SimpleNamespace(data=flags), is_rank_0=lambda: True, print=print)
    seen = []
    for path in sorted(folder.glob("stage_*.jsonl")):
        data = openrlhf.PromptDataset(blending_datasets(str(path), None, strategy), tokenizer, strategy)
        seen += [data[n] for n in range(len(data))]
    assert seen == [
        (
            row.source,
            "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in row.messages)
            + "<|im_start|>assistant\n",
            answer_text(row.answer) or "",
            None,
        )
        for row in rows
    ]
