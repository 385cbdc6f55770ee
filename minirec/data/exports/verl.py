"""verl: one Parquet file whose `data_source` chooses the reward function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import MESSAGES, parquet, prefixed
from minirec.data.exports.fields import OWN, ROW, TEXT, prefixed_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, DataFile, SourceMissingError, Target, partial_batch

RECIPE = """\
```bash
python3 -m verl.trainer.main_ppo \\
    data.train_files=train.parquet \\
    data.shuffle=False \\
    data.train_batch_size={batch} \\
    data.train_max_samples=-1 \\
    data.filter_overlong_prompts=False \\
    reward.custom_reward_function.path=YOUR_REWARD.py \\
    ...
```

- `data.shuffle=False` keeps the order of the file; it is true by default. Set no `data.sampler` (verl up to 0.7.1).
- `data.filter_overlong_prompts=False`: set to true, verl leaves out long prompts without an error. Set
  `data.max_prompt_length` high enough instead.
- In each epoch verl drops the rows behind the last full batch of `data.train_batch_size` prompts.
- `data_source` is {source}, as it was given. verl chooses its reward function by it, and fails with
  `NotImplementedError` for a name that it does not know, unless `reward.custom_reward_function.path` (in older
  versions `custom_reward_function.path`) names a file with
  `compute_score(data_source, solution_str, ground_truth, extra_info)`.

## Columns

`prompt` is a chat. `reward_model.ground_truth` is {answer}. In `extra_info`,
`index` is the sample's row in the data set and `minirec_id` its id, `minirec_position`, `minirec_rank` and
`minirec_stage` are its places, and others its scores. {more}
"""
REWARD = """\

## The same rewards

A file for `reward.custom_reward_function.path` that pays {paid},
as the service's own trainer `text_grpo` does; MiniRec is installed where verl runs (`pip install minirec`):

```python
import json

from minirec.api_schemas import TextReward
from minirec.rewards import Scorer

score = Scorer([{rewards}])


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **settings):
    return score(solution_str, json.loads(extra_info["minirec_row"]))
```
"""
ITEM = "`minirec_item_id` is the id of that item."
PROMPT = """\
`minirec_row` there is the row as it was
uploaded, in JSON, with its further fields. `ability` is the row's own where it has a text of that name, else
`general`."""


def schema(kind: Kind) -> pa.Schema:
    """Return the columns of the file."""
    own = [("split", TEXT), ("index", pa.int64()), *prefixed([*OWN[kind], *ROW[kind]])]
    return pa.schema(
        [
            ("data_source", TEXT),
            ("prompt", MESSAGES),
            ("ability", TEXT),
            ("reward_model", pa.struct([("style", TEXT), ("ground_truth", TEXT)])),
            ("extra_info", pa.struct(own)),
        ]
    )


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.parquet", len(rows), parquet(map(_row, rows), schema(kind)))


def _row(row: Row) -> dict[str, Any]:
    return {
        "data_source": row.source,
        "prompt": row.messages,
        "ability": row.ability,
        "reward_model": {"style": "rule", "ground_truth": answer_text(row.answer)},
        "extra_info": {"split": row.split, "index": row.index, **prefixed_fields(row)},
    }


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    recipe = RECIPE.format(
        batch=context.batch, source=context.sources, answer=context.answer, more=PROMPT if is_text else ITEM
    )
    return context.with_reward(recipe, REWARD)


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    return partial_batch(batches, "verl's data loader drops the last partial batch of every epoch")


def _check(rows: Sequence[Row]) -> None:
    nameless = next((row for row in rows if row.source is None), None)
    if nameless is not None:
        raise SourceMissingError(
            f"verl chooses the reward function by data_source; sample {nameless.id!r} has no source, and the dataset "
            f"has no name to take instead: give one for the rows without"
        )


TARGET = Target("verl", "verl", _files, _recipe, checked_with="verl 0.9.1", warnings=_warnings, check=_check)
