"""Rows of verl and TRL, chats of OpenAI, tables of questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.data.importers.conftest import Put, Run


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_verl_parquet_without_an_index_gets_ids_from_file_and_line(run: Run, tmp_path: Path) -> None:
    rows = [
        {
            "data_source": "Games",
            "prompt": [{"role": "system", "content": "Recommend."}, {"role": "user", "content": f"History {n}"}],
            "ability": "rec",
            "reward_model": {"style": "rule", "ground_truth": f"<a_{n}><b_1>"},
            "extra_info": {"title": "Zelda", "type": "seq"},
        }
        for n in range(3)
    ]
    (tmp_path / "rl").mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rl" / f"{split}.parquet")
    found = run(tmp_path / "rl")
    assert found.imported.format == "prompts"
    assert [row["id"] for row in found.prompts] == ["test-1", "test-2", "test-3", "train-1", "train-2", "train-3"]
    assert found.imported.splits == {"test": 3, "train": 3}
    assert found.prompts[0]["reward_model"]["ground_truth"] == "<a_0><b_1>"


def test_verl_rows_with_an_index_keep_it(run: Run, put: Put) -> None:
    row = {
        "prompt": [{"role": "user", "content": "1 + 1?"}],
        "reward_model": {"ground_truth": "2"},
        "extra_info": {"index": 17, "split": "train"},
    }
    found = run(put({"part.jsonl": lines(row)}))
    assert "id" not in found.prompts[0]


def test_trl_rows_and_a_chat_that_ends_with_the_answer(run: Run, put: Put) -> None:
    found = run(
        put(
            {
                "train.jsonl": lines(
                    {"prompt": "2 + 2?", "solution": "$4$", "level": 1},
                    {"prompt": [{"role": "user", "content": "3 + 3?"}], "solution": "$6$", "level": 2},
                )
            }
        )
    )
    assert [(row["id"], row["answer"], row["level"]) for row in found.prompts] == [
        ("train-1", "$4$", 1),
        ("train-2", "$6$", 2),
    ]


def test_openai_messages(run: Run, put: Put) -> None:
    parts = [{"type": "text", "text": "Capital of"}, {"type": "text", "text": "France?"}]
    found = run(
        put(
            {
                "chats.jsonl": lines(
                    {
                        "messages": [
                            {"role": "developer", "content": "Be brief."},
                            {"role": "user", "content": parts},
                            {"role": "assistant", "content": "Paris"},
                        ]
                    },
                    {"messages": [{"role": "user", "content": "Of Italy?"}], "reference_answer": "Rome"},
                    {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]},
                    {"messages": [{"role": "assistant", "content": "Hello"}]},
                )
            }
        )
    )
    assert found.prompts == [
        {
            "id": "chats-1",
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Capital of\nFrance?"},
            ],
            "answer": "Paris",
        },
        {"id": "chats-2", "prompt": [{"role": "user", "content": "Of Italy?"}], "answer": "Rome"},
    ]
    assert found.imported.dropped == {
        "row whose prompt is neither a text nor a chat of texts": 1,
        "chat without a turn to answer": 1,
    }


def test_messages_as_a_json_text_and_sharegpt(run: Run, put: Put) -> None:
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "Buy: <a_1>"}]},
        {"role": "assistant", "content": "<a_2>"},
    ]
    found = run(put({"rec.jsonl": lines({"uuid": "u-1", "messages": json.dumps(chat), "source": "ad"})}))
    assert found.prompts == [
        {
            "id": "u-1",
            "prompt": [{"role": "user", "content": "Buy: <a_1>"}],
            "answer": "<a_2>",
            "source": "ad",
            "uuid": "u-1",
        }
    ]
    shared = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}
    found = run(put({"rec.jsonl": lines(shared)}))
    assert (found.prompts[0]["prompt"], found.prompts[0]["answer"]) == ([{"role": "user", "content": "Hi"}], "Ho")


def test_columns_can_be_named(run: Run, put: Put) -> None:
    csv = "frage,loesung,part\nWie viel ist 2 + 3?,5,validation\n"
    found = run(put({"fragen.csv": csv}), columns={"prompt": "frage", "answer": "loesung", "split": "part"})
    assert found.prompts == [{"id": "fragen-2", "prompt": "Wie viel ist 2 + 3?", "answer": "5", "split": "valid"}]
