"""ms-swift: one JSON-lines file with `messages`, and columns that its rewards are called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import json_lines
from minirec.data.exports.fields import prefixed_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, DataFile, Target, partial_batch

RECIPE = """\
```bash
swift rlhf \\
    --rlhf_type grpo \\
    --model MODEL \\
    --dataset train.jsonl \\
    --split_dataset_ratio 0 \\
    --dataset_shuffle false \\
    --num_generations 8 \\
    --generation_batch_size $((8 * {batch})) \\
    --external_plugins {plugin} \\
    --reward_funcs {reward} \\
    ...
```

- `--dataset_shuffle false` keeps the order of the file, when it is loaded and in training; it is true by default.
- `--split_dataset_ratio 0` takes no rows away for validation.
- `--max_length` high enough: rows that do not fit are left out, and the log says how many.
- In each epoch the rows behind the last full batch of prompts are dropped.

## Columns

`messages` is the chat without an answer. Every other column reaches a reward as a list: `solution` is {answer}.
`source` is the data set, and `minirec_id`, `minirec_position`, `minirec_rank`,
`minirec_stage` with the scores say which sample it is. {more}
"""
REWARD = """\

## The same rewards

A file `minirec_plugin.py` that pays {paid}; MiniRec is installed where ms-swift runs (`pip install minirec`):

```python
import json

from minirec.api_schemas import TextReward
from minirec.rewards import Scorer
from swift.rewards import ORM, orms

score = Scorer([{rewards}])


class MiniRecReward(ORM):
    def __call__(self, completions, minirec_row, **columns):
        return [score(text, json.loads(row)) for text, row in zip(completions, minirec_row)]


orms["minirec"] = MiniRecReward
```
"""
ITEM = "`minirec_item_id` is the id of that\nitem."
PROMPT = "`minirec_row` is the row as it\nwas uploaded, in JSON."


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_row, rows)))


def _row(row: Row) -> dict[str, Any]:
    return {
        "messages": row.messages,
        "solution": answer_text(row.answer),
        "source": row.source,
        **prefixed_fields(row),
    }


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    recipe = RECIPE.format(
        batch=context.batch,
        plugin="minirec_plugin.py" if is_text else "YOUR_PLUGIN.py",
        reward="minirec" if is_text else "YOUR_REWARD",
        answer=context.answer,
        more=PROMPT if is_text else ITEM,
    )
    return context.with_reward(recipe, REWARD)


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    return partial_batch(batches, "ms-swift's sampler drops the last partial batch of every epoch")


TARGET = Target("ms-swift", "ms-swift (`swift rlhf`)", _files, _recipe, checked_with="ms-swift 4.6", warnings=_warnings)
