"""The verl export fits what verl documents, and loads in its own dataset class where verl is installed."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest
import yaml

from minirec.data.dataset import Dataset, answer_text
from minirec.data.exports import Pick, Row, build_rows
from tests.unit.exports.conftest import Export, written


def read(export: Export) -> list[dict[str, Any]]:
    return list(pq.read_table(export("verl") / "train.parquet").to_pylist())


def test_rows_fit_the_schema_of_verl_0_9_1(export: Export, rows: list[Row]) -> None:
    """docs/preparation/prepare_data of verl 0.9.1: five fields, a chat, a rule with a string, a unique integer."""
    found = read(export)
    for line, row in zip(found, rows, strict=True):
        assert list(line) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
        assert line["data_source"] == "shop/clicks"
        assert line["prompt"] == row.messages
        assert line["ability"] == "recommendation"
        assert line["reward_model"] == {"style": "rule", "ground_truth": row.answer}
        info = line["extra_info"]
        assert (info["split"], info["index"], info["minirec_id"]) == ("train", row.index, row.id)
        assert (info["minirec_position"], info["minirec_rank"]) == (row.position, row.pick.rank)
    assert len({line["extra_info"]["index"] for line in found}) == len(found)


def test_types_do_not_depend_on_the_rows(export: Export, dataset: Dataset, picks: list[Pick]) -> None:
    """verl joins its files: a column of nothing but nulls must still be one of numbers."""
    scored = [replace(pick, scores=replace(pick.scores, representativeness=0.5)) for pick in picks]
    with ZipFile(io.BytesIO(written(build_rows(dataset, scored, window=1, source="b"), "verl"))) as archive:
        other = pq.read_schema(io.BytesIO(archive.read("train.parquet")))
    assert pq.read_schema(export("verl") / "train.parquet").equals(other)


@pytest.mark.parametrize("prefix", ["", "prompt_"], ids=["interactions", "prompts"])
def test_verl_reads_it_in_order(prefix: str, tokenizer: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    export: Export = request.getfixturevalue(f"{prefix}export")
    rows: list[Row] = request.getfixturevalue(f"{prefix}rows")
    verl = pytest.importorskip("verl.utils.dataset.rl_dataset", reason="verl is not installed", exc_type=ImportError)
    from omegaconf import OmegaConf
    from torch.utils.data import DataLoader
    from verl.trainer.ppo.utils import create_rl_sampler

    folder = export("verl", batch_size=4)
    path = str(folder / "train.parquet")
    config = OmegaConf.load(Path(verl.__file__).parents[2] / "trainer" / "config" / "data" / "legacy_data.yaml")
    for name, value in re.findall(r"^ +data\.(\w+)=(\S+)", (folder / "README.md").read_text(), re.MULTILINE):
        assert name in config
        config[name] = yaml.safe_load(value)
    config.cache_dir = str(tmp_path)
    data = verl.RLHFDataset([path, path], tokenizer, config)
    assert [data[n]["index"] for n in range(11)] == [row.index for row in rows]
    loader = DataLoader(
        data,
        batch_size=config.train_batch_size,
        drop_last=True,
        collate_fn=verl.collate_fn,
        sampler=create_rl_sampler(config, data),
    )
    seen = [row for batch in loader for row in zip(batch["raw_prompt"], batch["reward_model"], strict=True)]
    expected = [(row.messages, {"style": "rule", "ground_truth": answer_text(row.answer)}) for row in [*rows, *rows]]
    assert seen == expected[:20]


def test_verl_in_turn_drops_the_partial_batch(export: Export, rows: list[Row]) -> None:
    """What the warning says: 11 rows, batches of 4."""
    torch = pytest.importorskip("torch.utils.data")
    loader = torch.DataLoader(read(export), batch_size=4, drop_last=True, collate_fn=list)
    seen = [line["extra_info"]["minirec_id"] for batch in loader for line in batch]
    assert seen == [row.id for row in rows[:8]]
