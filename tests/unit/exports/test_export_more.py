"""slime, verifiers, NeMo RL, ms-swift, LLaMA-Factory, CSV: their files hold what their loaders read.

None of these installs beside MiniRec. `make exports-test` loads an export with verifiers itself, in an environment of
its own; of the others, each test does with the file what the loader's code does.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from minirec.data.exports import AnswerMissingError, Row
from tests.unit.exports.conftest import Export, written
from tests.unit.exports.test_export_folder import lines, manifest_of
from tests.unit.exports.test_export_prompts import kinds, recipe, score

LABELS = ("2", '["Alien", "Amélie"]', None)
"""Of the three kinds of prompts."""


def loaded(path: Path, tmp_path: Path) -> Any:
    """The file as `datasets` loads it, which most loaders do."""
    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


def test_slime_applies_its_template_and_pays_what_the_service_pays(
    prompt_export: Export, prompt_rows: list[Row], tokenizer: Any
) -> None:
    """As slime/utils/data.py: prompt by the input key, label, metadata as a dict."""
    folder = prompt_export("slime")
    custom_rm = recipe(folder, "custom_rm")
    for line, row, kind in zip(lines(folder / "train.jsonl"), prompt_rows, kinds(prompt_rows), strict=True):
        text = tokenizer.apply_chat_template(line["prompt"], tools=None, tokenize=False, add_generation_prompt=True)
        assert row.messages[-1]["content"] in text
        assert line["label"] == (LABELS[kind] or "")
        assert (line["metadata"]["minirec_id"], line["metadata"]["source"]) == (row.id, row.source)
        if row.answer is not None:
            sample = types.SimpleNamespace(response="alien 2", metadata=line["metadata"])
            assert asyncio.run(custom_rm(None, sample)) == score("alien 2", row.uploaded)


def test_nemo_rl_finds_its_two_keys_and_the_rest_beside_them(
    prompt_export: Export, prompt_rows: list[Row], tmp_path: Path
) -> None:
    """As nemo_rl's ResponseDataset: `datasets` loads the file, both are texts, no column is `messages`."""
    folder = prompt_export("nemo-rl", batch_size=11)
    (config,) = re.findall(r"```yaml\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    train = yaml.safe_load(config)["data"]["train"]
    data = loaded(folder / train["data_path"], tmp_path)
    assert data.column_names == [train["input_key"], train["output_key"]]
    for line, told, row, kind in zip(
        data, lines(folder / "scores.jsonl"), prompt_rows, kinds(prompt_rows), strict=True
    ):
        assert line["input"] == "\n\n".join(turn["content"] for turn in row.messages)
        assert line["output"] == (LABELS[kind] or "")
        assert (told["id"], told["meta"]) == (row.id, row.extra)
    (warning,) = manifest_of(folder)["warnings"]
    assert "have several turns" in warning


def test_ms_swift_gets_messages_and_columns_and_its_plugin_pays_the_same(
    prompt_export: Export, prompt_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin is run against stand-ins for the two names that it takes from ms-swift 4.6."""
    folder = prompt_export("ms-swift")
    rewards: Any = types.ModuleType("swift.rewards")
    rewards.ORM, rewards.orms = type("ORM", (), {}), {}
    monkeypatch.setitem(sys.modules, "swift", types.ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    exec(plugin(folder), {})
    pay = rewards.orms["minirec"]()
    for line, row, kind in zip(loaded(folder / "train.jsonl", tmp_path), prompt_rows, kinds(prompt_rows), strict=True):
        assert (line["messages"], line["solution"], line["minirec_id"]) == (row.messages, LABELS[kind], row.id)
        if row.answer is not None:
            assert pay(["alien 2"], minirec_row=[line["minirec_row"]], solution=[None]) == [
                score("alien 2", row.uploaded)
            ]


def plugin(folder: Path) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return str(block)


def test_llama_factory_finds_turns_that_end_with_the_answer(export: Export, rows: list[Row], tmp_path: Path) -> None:
    """As LLaMA-Factory 0.9.5: `dataset_info.json` names the file and its tags; the assistant is last."""
    folder = export("llama-factory")
    info = json.loads((folder / "dataset_info.json").read_text())["minirec"]
    tags = info["tags"]
    data = loaded(folder / info["file_name"], tmp_path)
    for line, row in zip(data, rows, strict=True):
        turns = line[info["columns"]["messages"]]
        assert [turn[tags["role_tag"]] for turn in turns] == [tags["user_tag"], tags["assistant_tag"]]
        assert turns[-1][tags["content_tag"]] == f"<answer>{row.answer}</answer>"
        assert line["id"] == row.id
    assert manifest_of(folder)["warnings"] == []


def test_llama_factory_says_which_prompts_it_cannot_imitate(prompt_export: Export, prompt_rows: list[Row]) -> None:
    folder = prompt_export("llama-factory")
    answered = [row for row in prompt_rows if row.answer is not None]
    found = lines(folder / "train.jsonl")
    assert [line["id"] for line in found] == [row.id for row in answered]
    for line, row in zip(found, answered, strict=True):
        first = row.answer[0] if isinstance(row.answer, list) else row.answer
        assert line["messages"] == [*row.messages, {"role": "assistant", "content": first}]
    left_out, several = manifest_of(folder)["warnings"]
    assert f"{len(prompt_rows) - len(answered)} of {len(prompt_rows)} rows have no answer" in left_out
    assert "show the first" in several


def test_llama_factory_refuses_rows_without_any_answer(prompt_rows: list[Row]) -> None:
    with pytest.raises(AnswerMissingError, match="no selected prompt has an answer"):
        written([replace(row, answer=None) for row in prompt_rows], "llama-factory", kind="prompts")


@pytest.mark.parametrize("kind", ["interactions", "prompts"])
def test_csv_comes_back_as_it_was(
    export: Export, prompt_export: Export, rows: list[Row], prompt_rows: list[Row], kind: str
) -> None:
    make, wanted = (export, rows) if kind == "interactions" else (prompt_export, prompt_rows)
    with (make("csv") / "train.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for line, row in zip(found, wanted, strict=True):
        assert json.loads(line["messages"]) == row.messages
        assert line["prompt"] == row.messages[-1]["content"]
        answer = json.dumps(row.answer, ensure_ascii=False) if isinstance(row.answer, list) else row.answer or ""
        assert (line["id"], line["answer"], line["position"]) == (row.id, answer, str(row.position))
        assert float(line["reward_mean"]) == row.scores["reward_mean"]
        assert line["representativeness"] == ""


LOAD = """
import asyncio, json, sys, types
import minirec_subset
import verifiers.v1 as vf
taskset = minirec_subset.MiniRecSubset(vf.TasksetConfig(id="minirec_subset"))
trace = types.SimpleNamespace(last_reply="alien 2")
print(json.dumps([
    [data.id, data.prompt_text, data.answer, asyncio.run(task.earned(trace)) if data.answer else None]
    for task in taskset for data in [task.data]
]))
"""


@pytest.mark.skipif("MINIREC_EXPORTS_TEST" not in os.environ, reason="make exports-test runs it")
def test_verifiers_yields_the_tasks_in_order_with_their_reward(prompt_export: Export, prompt_rows: list[Row]) -> None:
    folder = prompt_export("verifiers")
    (folder / "minirec_subset.py").write_text(plugin(folder))
    here = {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[3]}"}
    done = subprocess.run(
        [os.environ["MINIREC_EXPORTS_TEST"], "-c", LOAD],
        env=os.environ | here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (name, text, answer, earned), row, kind in zip(
        json.loads(done.stdout.splitlines()[-1]), prompt_rows, kinds(prompt_rows), strict=True
    ):
        assert (name, answer) == (row.id, LABELS[kind])
        assert text == "\n\n".join(turn["content"] for turn in row.messages)
        assert earned == (None if answer is None else score("alien 2", row.uploaded))
