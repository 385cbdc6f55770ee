"""TRL's GRPOTrainer really trains on the export, in its order, but for the last partial batch."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import is_conversational

from minirec.data.exports import Row
from tests.unit.exports.conftest import Export

RESERVED = {
    "completion",
    "completions",
    "completion_ids",
    "prompts",
    "trainer_state",
    "log_extra",
    "log_metric",
    "environment",
    "environments",
    "image",
    "images",
}
"""Columns to which TRL 1.16 gives a meaning of its own."""


@pytest.fixture
def train_dataset(export: Export, tmp_path: Path) -> Any:
    path = str(export("trl", batch_size=4) / "train.parquet")
    return load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))


def test_columns_are_those_that_trl_reads_and_none_that_it_owns(train_dataset: Any, rows: list[Row]) -> None:
    assert not RESERVED & set(train_dataset.column_names)
    assert {name for name in train_dataset.column_names if not name.startswith("minirec_")} == {
        "prompt",
        "solution",
        "ground_truth",
        "source",
    }
    for line, row in zip(train_dataset, rows, strict=True):
        assert is_conversational(line)
        assert (line["prompt"], line["solution"], line["ground_truth"]) == (row.messages, row.answer, row.answer)
        assert (line["minirec_id"], line["minirec_item_id"], line["source"]) == (row.id, row.item_id, "shop/clicks")
        assert {name: line[f"minirec_{name}"] for name in row.scores} == row.scores


def test_the_readme_shows_options_that_trl_has(export: Export) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (export("trl", batch_size=4) / "README.md").read_text(), re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(*blocks)) if isinstance(node, ast.Call)]
    (config,) = [call for call in calls if ast.unparse(call.func) == "GRPOConfig"]
    options = {option.arg: ast.unparse(option.value) for option in config.keywords}
    assert options["shuffle_dataset"] == "False"
    assert options["generation_batch_size"] == f"{options['num_generations']} * 4"
    assert set(options) <= {field.name for field in fields(GRPOConfig)}


def small_config(folder: Path, **options: Any) -> GRPOConfig:
    """A configuration that keeps the order, for a few short steps on a CPU."""
    return GRPOConfig(
        output_dir=str(folder / "out"),
        shuffle_dataset=False,
        num_generations=2,
        max_completion_length=4,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )


def test_a_trainer_sees_the_order_and_drops_what_the_warning_said(
    train_dataset: Any, rows: list[Row], model: Path, tmp_path: Path
) -> None:
    """Eleven rows in batches of four: two epochs, each of the first eight rows as they are in the file."""
    seen: list[str] = []

    def reward(completions: list[Any], solution: list[str], minirec_id: list[str], **columns: Any) -> list[float]:
        answers = {row.id: row.answer for row in rows}
        assert solution == [answers[name] for name in minirec_id]
        assert len(set(columns["minirec_position"])) == 4
        seen.extend(minirec_id)
        return [float(len(completion[0]["content"]) % 7) for completion in completions]

    options = {"generation_batch_size": 2 * 4, "per_device_train_batch_size": 8, "num_train_epochs": 2}
    config = small_config(tmp_path, learning_rate=1e-3, **options)
    trainer = GRPOTrainer(model=str(model), reward_funcs=[reward], args=config, train_dataset=train_dataset)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    trainer.train()
    assert trainer.state.global_step == 4
    assert any((old != new).any() for old, new in zip(before, trainer.model.parameters(), strict=True))
    assert seen == 2 * [row.id for row in rows[:8] for _ in range(2)]
