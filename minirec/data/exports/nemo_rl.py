"""NeMo RL: one JSON-lines file with a text and an answer, which is all that its `ResponseDataset` keeps of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import json_lines
from minirec.data.exports.fields import meta_field, own_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, DataFile, Target, partial_batch

SIDE_FILE = "scores.jsonl"

RECIPE = """\
```yaml
grpo:
  num_prompts_per_step: {batch}
data:
  shuffle: false
  train:
    dataset_name: ResponseDataset
    data_path: train.jsonl
    input_key: input
    output_key: output
```

- `data.shuffle: false` keeps the order of the file; the examples of NeMo RL set it to true.
- `data.max_input_seq_length` high enough: a longer prompt is cut and gets no loss.
- Releases without the key `train` name the file in `data.train_data_path`.
- The data loader drops the rows behind the last full batch of `num_prompts_per_step`.
- What an answer earns is computed by an environment (`env`): that of mathematics compares with `output`. Another reward
  is an environment of your own.

## Fields

`input` is the prompt as one text, `output` is {answer}. NeMo RL keeps nothing else of a row: ids, ranks and
scores are in `{side_file}`, one line per row, with `line` (from 1). {more}
"""
ITEM = "`item_id` there is the id of that item."
PROMPT = "`meta` there has the row's further\nfields."


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    side: Iterator[Mapping[str, Any]] = (
        {"line": line, **own_fields(row), **meta_field(row)} for line, row in enumerate(rows, start=1)
    )
    yield DataFile("train.jsonl", len(rows), json_lines(map(_row, rows)))
    yield DataFile(SIDE_FILE, len(rows), json_lines(side))


def _row(row: Row) -> dict[str, str]:
    return {"input": one_text(row), "output": answer_text(row.answer) or ""}


def one_text(row: Row) -> str:
    """Return a chat as one text: the content of its turns, with empty lines between them."""
    return "\n\n".join(turn["content"] for turn in row.messages)


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    return RECIPE.format(
        batch=context.batch,
        answer=context.answer_or_empty,
        side_file=SIDE_FILE,
        more=PROMPT if is_text else ITEM,
    )


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    chats = [row.id for row in rows if len(row.messages) > 1]
    joined = [
        f"{len(chats)} prompts have several turns, the first is {first!r}. NeMo RL's dataset of prompts and answers "
        f"has one text per prompt, so the turns were joined, without their roles."
        for first in chats[:1]
    ]
    dropped = partial_batch(batches, "NeMo RL's data loader drops the last partial batch of every epoch")
    return [*joined, *dropped]


TARGET = Target("nemo-rl", "NeMo RL", _files, _recipe, warnings=_warnings)
