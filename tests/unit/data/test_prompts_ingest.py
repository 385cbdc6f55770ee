"""Prompt datasets: what is taken, what is refused and where, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minirec.data.dataset import PromptDataset
from minirec.data.ingest import DatasetError, ingest_prompts

Write = Callable[..., Path]

PROMPTS: list[dict[str, Any]] = [
    {"id": "p1", "prompt": "What is 1 + 1?", "answer": "2", "split": "train", "level": 3, "tags": ["sum"]},
    {
        "id": "p2",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name two films."}],
        "answer": ["Alien", "Brazil"],
        "source": "films",
    },
    {"id": "p3", "prompt": "Say anything."},
]


def opened(path: Path, tmp_path: Path) -> PromptDataset:
    return PromptDataset.open(ingest_prompts(path, tmp_path / "out").path)


def test_prompts_come_back_as_they_were(write_jsonl: Write, tmp_path: Path) -> None:
    found = ingest_prompts(write_jsonl("prompts.jsonl", PROMPTS), tmp_path / "out")
    assert (found.n_prompts, found.splits) == (3, {"train": 1, "none": 2})
    dataset = PromptDataset.open(found.path)
    assert dataset.ids == ["p1", "p2", "p3"]
    assert [dataset.sample_json(row) for row in range(3)] == PROMPTS
    assert dataset.pool(split=None, max_samples=None, seed=0).tolist() == [0]
    assert dataset.without_answer(dataset.pool(split=None, max_samples=None, seed=0)) == []


def test_a_text_is_one_user_turn(write_jsonl: Write, tmp_path: Path) -> None:
    dataset = opened(write_jsonl("prompts.jsonl", PROMPTS), tmp_path)
    first, second = dataset.prompt(0), dataset.prompt(1)
    assert first.messages == ({"role": "user", "content": "What is 1 + 1?"},)
    assert first.row["level"] == 3
    assert [message["role"] for message in second.messages] == ["system", "user"]
    assert (second.answer, second.source, second.split) == (["Alien", "Brazil"], "films", None)


def test_parquet_is_the_same_dataset(write_jsonl: Write, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "x", "answer": "1", "n": 1.5}, {"id": "b", "prompt": "y", "answer": "2", "n": 2.5}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    chats = [{"id": "c", "prompt": [{"role": "user", "content": "x"}], "answer": ["1", "2"]}]
    pq.write_table(pa.Table.from_pylist(chats), tmp_path / "chats.parquet")
    for table, same in (("rows.parquet", rows), ("chats.parquet", chats)):
        ours = ingest_prompts(tmp_path / table, tmp_path / "a").content_hash
        assert ours == ingest_prompts(write_jsonl("same.jsonl", same), tmp_path / "b").content_hash


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"id": "a"}], "prompts.jsonl:1: prompt: the field is missing"),
        ([{"id": "a", "prompt": ""}], "prompts.jsonl:1: prompt: String should have at least 1 character"),
        ([{"id": "a", "prompt": []}], "prompts.jsonl:1: prompt: must not be empty"),
        ([{"id": "a", "prompt": 4}], "prompts.jsonl:1: prompt: Input should be a text or a list of messages, got 4"),
        ([{"id": "a", "prompt": ["x"]}], "prompts.jsonl:1: prompt[0]: must be an object"),
        (
            [{"id": "a", "prompt": [{"role": "robot", "content": "x"}]}],
            "prompts.jsonl:1: prompt[0].role: Input should be",
        ),
        ([{"id": "a", "prompt": [{"role": "assistant", "content": "x"}]}], "ends with the assistant's turn"),
        (
            [{"id": "a", "prompt": "x", "answer": 4.5}],
            "prompts.jsonl:1: answer: Input should be a text or a list of texts",
        ),
        (
            [{"id": "a", "prompt": "x", "answer": ["a", 4]}],
            "prompts.jsonl:1: answer[1]: Input should be a valid string",
        ),
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], '2: id: "a" is on line 1 already'),
        (['{"id": "a", "prompt": "x", "level": NaN}'], "1: level: holds NaN"),
    ],
)
def test_faults_name_line_and_field(write_jsonl: Write, tmp_path: Path, rows: list[Any], fault: str) -> None:
    with pytest.raises(DatasetError) as caught:
        ingest_prompts(write_jsonl("prompts.jsonl", rows), tmp_path / "out")
    assert fault in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_parquet_columns_of_a_wrong_type_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "prompt": [1]}), tmp_path / "rows.parquet")
    with pytest.raises(
        DatasetError, match="rows.parquet:1: prompt: Input should be a text or a list of messages, got 1"
    ):
        ingest_prompts(tmp_path / "rows.parquet", tmp_path / "out")
