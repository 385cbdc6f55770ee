"""TRL: one Parquet file with a chat and a column for everything that a reward may want to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.columns import Extra, extra_columns
from minirec.data.exports.encode import MESSAGES, parquet, prefixed
from minirec.data.exports.fields import OWN, ROW, TEXT, prefixed_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, DataFile, Target, partial_batch

RECIPE = """\
```python
{imports}from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer
{reward}
config = GRPOConfig(
    shuffle_dataset=False,  # the order of the file; true by default
    num_generations=8,
    generation_batch_size=8 * {batch},  # num_generations * prompts per batch
    remove_unused_columns=False,  # the default: rewards get the other columns
)
trainer = GRPOTrainer(
    model="MODEL",
    reward_funcs=[{reward_name}],
    args=config,
    train_dataset=load_dataset("parquet", data_files="train.parquet", split="train"),
)
```

Load the file as a whole, not with `streaming=True`. Every epoch has the same order. In each epoch TRL drops the rows
behind the last full batch of `generation_batch_size // num_generations` prompts.

## Columns

`prompt` is a chat. Every other column reaches a reward function as a list: `solution` (also under the name
`ground_truth`) is {answer}. `source` is the data set, and `minirec_id`,
`minirec_position`, `minirec_rank`, `minirec_stage` with the scores say which sample it is.
{more}
"""
IMPORTS = """\
import json

from minirec.api_schemas import TextReward
"""
REWARD = """\
from minirec.rewards import Scorer

score = Scorer([{rewards}])


def minirec_reward(completions, minirec_row, **columns):
    return [score(turns[0]["content"], json.loads(row)) for turns, row in zip(completions, minirec_row)]

"""
ITEM = "`minirec_item_id` is the id of that item."
PROMPT = """\
`minirec_row` is the row as it was uploaded, in JSON. Its further fields are columns too; one whose
values are lists, objects or of several types is JSON text.

`minirec_reward` pays {paid}, in one sum. MiniRec is installed where TRL runs (`pip install
minirec`)."""


def schema(kind: Kind, extra: Sequence[pa.Field]) -> pa.Schema:
    """Return the columns of the file, with `extra` ones for the fields that the rows have beyond ours."""
    named = [("prompt", MESSAGES), ("solution", TEXT), ("ground_truth", TEXT), ("source", TEXT)]
    return pa.schema([*named, *extra, *prefixed([*OWN[kind], *ROW[kind]])])


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    extra = extra_columns(rows)
    content = ({**_row(row), **extra.values(row)} for row in rows)
    yield DataFile("train.parquet", len(rows), parquet(content, schema(kind, extra.schema)))


def _row(row: Row) -> dict[str, Any]:
    answer, source = answer_text(row.answer), row.source
    return {
        "prompt": row.messages,
        "solution": answer,
        "ground_truth": answer,
        "source": source,
        **prefixed_fields(row),
    }


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    return RECIPE.format(
        imports=IMPORTS if is_text else "",
        reward=REWARD.format(rewards=context.rewards_as_python) if is_text else "",
        reward_name="minirec_reward" if is_text else "YOUR_REWARD",
        batch=context.batch,
        answer=context.answer,
        more=PROMPT.format(paid=context.rewards_in_words) if is_text else ITEM,
    )


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    dropped = partial_batch(batches, "TRL's sampler drops the last partial batch of every epoch")
    return [*_column_warnings(extra_columns(rows)), *dropped]


def _column_warnings(extra: Extra) -> list[str]:
    """Return warnings for the fields of prompts that are not found under their names."""
    warnings = []
    if extra.renamed:
        names = ", ".join(f"{name!r} is in the column {column!r}" for name, column in extra.renamed.items())
        warnings.append(f"TRL or this export use the names of some fields for themselves: {names}.")
    if extra.left_out:
        warnings.append(
            f"{extra.left_out} fields of the rows have no column of their own, beyond {len(extra.names)} that have; "
            f"minirec_row has all."
        )
    return warnings


TARGET = Target("trl", "TRL (`GRPOTrainer`)", _files, _recipe, checked_with="trl 1.16", warnings=_warnings)
