"""verifiers, and prime-rl, which trains on its environments: rows as tasks, and the taskset that loads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import json_lines
from minirec.data.exports.fields import prefixed_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Context, DataFile, Target

RECIPE = """\
A taskset of verifiers 0.4, for its own commands and for prime-rl. Save it as `minirec_subset.py` in this folder, and
put the folder on the Python path of the environment server:

```python
import json
from pathlib import Path

import verifiers.v1 as vf
{imports}
{score}

class Data(vf.TaskData):
    answer: object  # a text, or null
    minirec_position: int
    minirec_stage: int
    minirec_row: str = ""


class MiniRecTask(vf.Task[Data]):
    @vf.reward
    async def earned(self, trace) -> float:
        return {reward}


class MiniRecSubset(vf.Taskset[MiniRecTask, vf.TasksetConfig]):
    def load(self):
        for line in (Path(__file__).parent / "train.jsonl").read_text().splitlines():
            yield MiniRecTask(Data.model_validate(json.loads(line)), self.config.task)


__all__ = ["MiniRecSubset"]
```

- The taskset yields the rows in the order of the file; do not let it be shuffled (`select.shuffle`).
- prime-rl draws tasks as rollouts finish, and filters may ask again: the order is kept roughly, not to the row.
- verifiers before 0.4 has `load_environment`: there `SingleTurnEnv(dataset=...)` takes the same file, whose columns
  `prompt` and `answer` have its names.

## Fields

`prompt` is a chat, `answer` is {answer}. `id` is the sample's, `minirec_position`,
`minirec_rank` and `minirec_stage` are its places, and others its scores. {more}
"""
IMPORTS = """\
from minirec.api_schemas import TextReward
from minirec.rewards import Scorer
"""
SCORE = """\
score = Scorer([{rewards}])

"""
OF_ROW = "score(trace.last_reply, json.loads(self.data.minirec_row))"
OF_ANSWER = "YOUR_REWARD(trace.last_reply, self.data.answer)"
ITEM = "`minirec_item_id` is the id of that item."
PROMPT = """\
`minirec_row` is the
row as it was uploaded, in JSON. The reward pays {paid}; MiniRec is installed where the
environment server runs (`pip install minirec`)."""


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    yield DataFile("train.jsonl", len(rows), json_lines(map(_row, rows)))


def _row(row: Row) -> dict[str, Any]:
    fields = prefixed_fields(row)
    del fields["minirec_id"]
    return {
        "id": row.id,
        "prompt": row.messages,
        "answer": answer_text(row.answer),
        "source": row.source,
        **fields,
    }


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    return RECIPE.format(
        imports=IMPORTS if is_text else "",
        score=SCORE.format(rewards=context.rewards_as_python) if is_text else "",
        reward=OF_ROW if is_text else OF_ANSWER,
        answer=context.answer,
        more=PROMPT.format(paid=context.rewards_in_words) if is_text else ITEM,
    )


TARGET = Target("verifiers", "verifiers and prime-rl", _files, _recipe, checked_with="verifiers 0.4.0")
