"""LLaMA-Factory: chats that end with the right answer, for supervised fine-tuning, and their `dataset_info.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from minirec.api_schemas.datasets import Kind
from minirec.data.exports.encode import json_lines
from minirec.data.exports.fields import own_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import AnswerMissingError, Batches, Context, DataFile, Target

RECIPE = """\
LLaMA-Factory has no GRPO: this is the subset for supervised fine-tuning, each chat with its right answer as the
assistant's turn.

```bash
llamafactory-cli train \\
    --stage sft \\
    --do_train true \\
    --model_name_or_path MODEL \\
    --dataset_dir . \\
    --dataset minirec \\
    --disable_shuffling true \\
    --packing false \\
    ...
```

- `--disable_shuffling true` keeps the order of the file; it is false by default.
- `--packing false`: packed sequences mix rows.
- `--cutoff_len` high enough: longer rows are cut.

## Fields

`messages` is the chat; its last turn is {answer}. The other fields say which sample a row is;
LLaMA-Factory does not read them. `dataset_info.json` tells it what the fields are.
"""
INFO = {
    "minirec": {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
}


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    answered = [row for row in rows if row.answer is not None]
    yield DataFile("train.jsonl", len(answered), json_lines(map(_row, answered)))
    yield DataFile("dataset_info.json", None, iter((json.dumps(INFO, indent=2).encode() + b"\n",)))


def _row(row: Row) -> dict[str, Any]:
    return {"messages": [*row.messages, {"role": "assistant", "content": _answer(row)}], **own_fields(row)}


def _answer(row: Row) -> str:
    """Return the assistant's turn: of a sample the title as its prompt asks for it, of a prompt the first answer."""
    answer = row.answer[0] if isinstance(row.answer, list) else row.answer
    return f"<answer>{answer}</answer>" if row.item_id is not None else str(answer)


def _recipe(context: Context) -> str:
    title = "the title of the item that the user chose, between `<answer>` and `</answer>`"
    text = "the answer; of several answers it is the first"
    return RECIPE.format(answer=text if context.kind == "prompts" else title)


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    warnings = []
    without = [row.id for row in rows if row.answer is None]
    if without:
        warnings.append(
            f"{len(without)} of {len(rows)} rows have no answer, and are left out, since there is nothing to imitate; "
            f"the first is {without[0]!r}."
        )
    several = [row.id for row in rows if isinstance(row.answer, list) and len(row.answer) > 1]
    if several:
        warnings.append(f"{len(several)} rows have several right answers, and show the first; one is {several[0]!r}.")
    odd = [row.id for row in rows if not _alternates(row)]
    if odd:
        warnings.append(
            f"{len(odd)} chats do not alternate between user and assistant, the first is {odd[0]!r}: LLaMA-Factory "
            f"skips such rows."
        )
    return warnings


def _alternates(row: Row) -> bool:
    roles = [turn["role"] for turn in row.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    return len(turns) % 2 == 1 and all(role == ("user", "assistant")[n % 2] for n, role in enumerate(turns))


def _check(rows: Sequence[Row]) -> None:
    if all(row.answer is None for row in rows):
        raise AnswerMissingError(
            "is llama-factory, which is for supervised fine-tuning, and no selected prompt has an answer: take another "
            "format, or upload answers"
        )


TARGET = Target(
    "llama-factory",
    "LLaMA-Factory",
    _files,
    _recipe,
    checked_with="LLaMA-Factory 0.9.5",
    warnings=_warnings,
    check=_check,
)
