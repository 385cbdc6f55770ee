"""slime: one JSON-lines file with a chat, a label, and metadata that reach the reward function."""

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
python3 train.py \\
    --prompt-data "$PWD/train.jsonl" \\
    --input-key prompt \\
    --label-key label \\
    --metadata-key metadata \\
    --apply-chat-template \\
    --rollout-batch-size {batch} \\
    --n-samples-per-prompt 8 \\
    --custom-rm-path {reward} \\
    ...
```

- Leave out `--rollout-shuffle`: without it slime takes the rows in the order of the file, in every epoch.
- Leave out `--rollout-max-prompt-len`, or set it high enough: longer prompts are left out, and only its log says so.
- Over-sampling (`--over-sampling-batch-size`) and filters (`--dynamic-sampling-filter-path`) use up prompts ahead of
  the curriculum.
- A batch may begin in one epoch and end in the next; no row is dropped.

## Fields

`prompt` is a chat, `label` is {answer}. `metadata` reaches the reward function as
`sample.metadata`: `minirec_id`, `minirec_position`, `minirec_rank`, `minirec_stage` and the scores say which sample it
is. {more}
"""
REWARD = """\

## The same rewards

A file `minirec_rm.py` beside `train.py` that pays {paid}; MiniRec is installed where slime runs (`pip install
minirec`):

```python
import json

from minirec.api_schemas import TextReward
from minirec.rewards import Scorer

score = Scorer([{rewards}])


async def custom_rm(args, sample, **settings):
    return score(sample.response, json.loads(sample.metadata["minirec_row"]))
```
"""
ITEM = "`minirec_item_id` is the id of that item."
PROMPT = "`minirec_row` there is\nthe row as it was uploaded, in JSON."


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_row, rows)))


def _row(row: Row) -> dict[str, Any]:
    source = {} if row.source is None else {"source": row.source}
    metadata = {**source, **prefixed_fields(row)}
    return {"prompt": row.messages, "label": answer_text(row.answer) or "", "metadata": metadata}


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    recipe = RECIPE.format(
        batch=context.batch,
        reward="minirec_rm.custom_rm" if is_text else "YOUR_MODULE.custom_rm",
        answer=context.answer_or_empty,
        more=PROMPT if is_text else ITEM,
    )
    return context.with_reward(recipe, REWARD)


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    return partial_batch(batches, "slime fills the last rollout batch of an epoch from the beginning of the next")


TARGET = Target("slime", "slime", _files, _recipe, warnings=_warnings)
