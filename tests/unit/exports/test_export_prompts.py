"""Exports of prompts: the chats and answers as uploaded, with every field where the trainer's rewards can read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from trl import GRPOTrainer

from minirec.api_schemas import TextReward
from minirec.api_schemas.exports import ExportFormat
from minirec.data.dataset import PromptDataset
from minirec.data.exports import TARGETS, Pick, Row, SourceMissingError, build_rows
from minirec.data.exports.columns import MAX_COLUMNS, extra_columns
from minirec.rewards import Scorer
from tests.builders import MIXED_PROMPTS
from tests.unit.exports.conftest import REWARDS, SELECTION, STAGES, Export, written
from tests.unit.exports.test_export_folder import lines, manifest_of
from tests.unit.exports.test_export_trl import small_config

TRL_COLUMNS = {"prompt", "solution", "ground_truth", "source", "ability", "level", "row_completion", "tags"}


def kinds(rows: list[Row]) -> list[int]:
    """Which of the three kinds of prompts each row is of."""
    return [row.index % len(MIXED_PROMPTS) for row in rows]


def score(completion: str, row: dict[str, Any]) -> float:
    """What the service's own trainer would give."""
    return Scorer([TextReward.model_validate(reward) for reward in REWARDS])(completion, row)


def test_rows_are_the_prompts_as_they_were_uploaded(prompt_rows: list[Row], picks: list[Pick]) -> None:
    assert [row.index for row in prompt_rows] == [pick.row for pick in picks]
    assert set(kinds(prompt_rows)) == {0, 1, 2}
    for row, kind in zip(prompt_rows, kinds(prompt_rows), strict=True):
        sent = MIXED_PROMPTS[kind] | {"id": row.id}
        prompt = sent["prompt"]
        assert row.messages == ([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
        assert (row.answer, row.uploaded) == (sent.get("answer"), sent)
        assert row.source == sent.get("source", "the/rest"), "the row's own wins"


def test_json_lines_keep_what_was_uploaded(prompt_export: Export, prompt_rows: list[Row]) -> None:
    for line, row, kind in zip(
        lines(prompt_export("jsonl") / "train.jsonl"), prompt_rows, kinds(prompt_rows), strict=True
    ):
        assert (line["id"], line["prompt"], line["answer"]) == (row.id, row.messages, MIXED_PROMPTS[kind].get("answer"))
        known = {"id", "prompt", "answer", "source", "split"}
        assert line["meta"] == {name: value for name, value in MIXED_PROMPTS[kind].items() if name not in known}
        assert "item_id" not in line


def test_parquet_has_columns_that_fit_every_row(prompt_export: Export, prompt_rows: list[Row]) -> None:
    found = pq.read_table(prompt_export("parquet") / "train.parquet").to_pylist()
    for line, row in zip(found, prompt_rows, strict=True):
        answer = json.loads(line["answer"]) if isinstance(row.answer, list) else line["answer"]
        assert (line["prompt"], answer, json.loads(line["meta"])) == (row.messages, row.answer, row.extra)


def test_verl_gets_the_rows_own_source_and_the_whole_row(prompt_export: Export, prompt_rows: list[Row]) -> None:
    found = pq.read_table(prompt_export("verl") / "train.parquet").to_pylist()
    for line, row, kind in zip(found, prompt_rows, kinds(prompt_rows), strict=True):
        assert line["data_source"] == ("openai/gsm8k", "films", "the/rest")[kind]
        assert line["ability"] == ("general", "memory", "general")[kind]
        assert line["reward_model"] == {"style": "rule", "ground_truth": ("2", '["Alien", "Amélie"]', None)[kind]}
        assert (line["prompt"], line["extra_info"]["index"]) == (row.messages, row.index)
        assert json.loads(line["extra_info"]["minirec_row"]) == row.uploaded
        assert "minirec_item_id" not in line["extra_info"]


def test_verl_is_told_which_sample_has_no_source(prompt_dataset: PromptDataset, picks: list[Pick]) -> None:
    nameless = build_rows(prompt_dataset, picks, window=3, source=None)
    first = next(row.id for row in nameless if row.source is None)
    with pytest.raises(SourceMissingError, match=f"sample '{first}' has no source"):
        written(nameless, "verl", kind="prompts")
    written([row for row in nameless if row.source is not None], "verl", kind="prompts")


def test_openrlhf_gets_texts_and_a_side_file_with_the_rest(prompt_export: Export, prompt_rows: list[Row]) -> None:
    folder = prompt_export("openrlhf")
    found = [line for path in sorted(folder.glob("stage_*.jsonl")) for line in lines(path)]
    for line, told, row, kind in zip(
        found, lines(folder / "scores.jsonl"), prompt_rows, kinds(prompt_rows), strict=True
    ):
        label = ("2", '["Alien", "Amélie"]', "")[kind]
        assert line == {"input": row.messages, "label": label, "datasource": row.source}
        assert (told["id"], told["meta"]) == (row.id, row.extra)


def test_trl_columns_that_trl_owns_are_renamed_and_warned_about(prompt_export: Export, prompt_rows: list[Row]) -> None:
    folder = prompt_export("trl")
    found = pq.read_table(folder / "train.parquet").to_pylist()
    assert {name for name in found[0] if not name.startswith("minirec_")} == TRL_COLUMNS
    (warning,) = manifest_of(folder)["warnings"]
    assert "'completion' is in the column 'row_completion'" in warning
    for line, row, kind in zip(found, prompt_rows, kinds(prompt_rows), strict=True):
        assert line["solution"] == line["ground_truth"] == ("2", '["Alien", "Amélie"]', None)[kind]
        assert (line["row_completion"], line["ability"]) == (row.extra.get("completion"), row.extra.get("ability"))
        assert line["level"] == (3.0, None, 1.5)[kind]
        assert line["tags"] == ('["sum"]', None, None)[kind]


def test_odd_fields_find_a_column_of_their_own(prompt_rows: list[Row]) -> None:
    fields = {"solution": 1, "row_solution": 2, "minirec_id": True, "huge": 10**30, "mixed": "x"}
    rows = [replace(prompt_rows[0], extra=fields), replace(prompt_rows[1], extra={"mixed": 1})]
    extra = extra_columns(rows)
    assert extra.renamed == {"solution": "row_row_solution", "minirec_id": "row_minirec_id"}
    assert extra.values(rows[0]) == {
        "row_row_solution": 1,
        "row_solution": 2,
        "row_minirec_id": True,
        "huge": "1" + 30 * "0",
        "mixed": '"x"',
    }
    assert {field.name: str(field.type) for field in extra.schema}["huge"] == "string"


def test_a_table_has_an_end_however_many_fields_there_are(prompt_rows: list[Row]) -> None:
    rows = [replace(prompt_rows[0], extra={f"f{n:03d}": n for n in range(MAX_COLUMNS + 5)})]
    extra = extra_columns(rows)
    assert (len(extra.schema), extra.left_out) == (MAX_COLUMNS, 5)


@pytest.mark.parametrize("format", TARGETS)
def test_the_readme_is_about_prompts(prompt_export: Export, format: ExportFormat) -> None:
    folder = prompt_export(format, batch_size=16)
    text = (folder / "README.md").read_text()
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"the user chose|item_id|target|None|[{}]", outside)
    assert (format == "ids") or "several answers" in outside or format == "jsonl"
    manifest = manifest_of(folder)
    assert (manifest["kind"], manifest["prompt"]) == ("prompts", None)
    assert manifest["counts"] == {"rows": 11, "stages": list(STAGES)}


@pytest.mark.parametrize("format", ["trl", "verl"])
def test_without_rewards_of_the_selection_the_recipe_is_an_example(prompt_export: Export, format: ExportFormat) -> None:
    text = (prompt_export(format, selection=SELECTION) / "README.md").read_text()
    assert 'Scorer([TextReward(name="exact_answer")])' in text
    assert "made from uploaded rewards" in text


def recipe(folder: Path, function: str) -> Callable[..., Any]:
    """The reward function that a README shows."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if f"def {function}" in block]
    names: dict[str, Any] = {}
    exec(block.partition("\nconfig = ")[0], names)
    return names[function]  # type: ignore[no-any-return]


def test_the_recipe_for_verl_pays_what_the_service_pays(prompt_export: Export) -> None:
    folder = prompt_export("verl")
    compute_score = recipe(folder, "compute_score")
    for line in pq.read_table(folder / "train.parquet").to_pylist():
        info, right = line["extra_info"], line["reward_model"]["ground_truth"]
        row = json.loads(info["minirec_row"])
        if right is not None:
            for text in ("2", "alien", "Brazil 2"):
                assert compute_score(line["data_source"], text, right, info) == score(text, row)


def test_trl_trains_on_prompts_with_the_rewards_of_the_recipe(
    prompt_export: Export, prompt_dataset: PromptDataset, picks: list[Pick], model: Path, tmp_path: Path
) -> None:
    folder = prompt_export("trl", batch_size=4)
    data = load_dataset(
        "parquet", data_files=str(folder / "train.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    ).filter(lambda line: line["solution"] is not None)
    reward, seen = recipe(folder, "minirec_reward"), []

    def checked(completions: list[Any], minirec_row: list[str], **columns: Any) -> list[float]:
        paid: list[float] = reward(completions=completions, minirec_row=minirec_row, **columns)
        texts = [turns[0]["content"] for turns in completions]
        assert paid == [score(text, json.loads(row)) for text, row in zip(texts, minirec_row, strict=True)]
        seen.extend(columns["minirec_id"])
        return paid

    config = small_config(tmp_path, generation_batch_size=2 * 2, per_device_train_batch_size=4, max_steps=2)
    GRPOTrainer(model=str(model), reward_funcs=[checked], args=config, train_dataset=data).train()
    order = [prompt_dataset.ids[pick.row] for pick in picks if prompt_dataset.prompt(pick.row).answer is not None]
    assert seen == [sample_id for sample_id in order[:4] for _ in range(2)]
