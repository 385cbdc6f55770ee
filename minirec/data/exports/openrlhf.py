"""OpenRLHF: one file per curriculum stage, since it shuffles every file that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import answer_text
from minirec.data.exports.encode import json_lines
from minirec.data.exports.fields import meta_field, own_fields
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, DataFile, Target

SIDE_FILE = "scores.jsonl"
SHOWN_STAGES = 8

RECIPE = """\
OpenRLHF shuffles what it reads, and no flag prevents that. One run per stage, each from the model that the last one
left, keeps the order of the stages:

```bash
model=MODEL
for stage in stage_*.jsonl; do
    out=ckpt/${{stage%.jsonl}}
    python3 -m openrlhf.cli.train_ppo_ray \\
        --actor.model_name_or_path "$model" \\
        --ckpt.output_dir "$out" \\
        --data.prompt_dataset "$PWD/$stage" \\
        --data.input_key input \\
        --data.label_key label \\
        --data.apply_chat_template \\
        --rollout.batch_size {batch} \\
        --train.num_episodes 1 \\
        --actor.lr_scheduler constant \\
        --reward.remote_url YOUR_REWARD.py \\
        ...
    model=$out
done
```

- `--train.num_episodes 1`: a second episode is a second walk through all stages, not twice through each.
- The optimizer starts anew with each stage; a constant learning rate keeps the stages alike. With LoRA, merge the
  adapter into the model after each stage (`openrlhf.cli.lora_combiner`).
- Before 0.11 the flags are `--pretrain`, `--save_path`, `--prompt_data`, `--input_key`, `--label_key`,
  `--apply_chat_template`, `--rollout_batch_size`, `--num_episodes`, `--lr_scheduler` and `--remote_rm_url`.

## Fields

`input` is a chat, `label` is {answer}. `datasource`, where there is one, names
the data set. A reward function gets `queries, prompts, labels` and nothing else, so ids, ranks and scores are in
`{side_file}`: one line per row, with `file` and `line` (from 1). {more}
"""
ITEM = "`item_id` there is the id of that item."
PROMPT = "`meta` there has the row's further\nfields."


def _files(kind: Kind, rows: Sequence[Row]) -> Iterator[DataFile]:
    """Yield one file per stage, in the stages' order, and a side file with what OpenRLHF cannot hand on."""
    stages = [list(stage) for _, stage in groupby(rows, key=lambda row: row.pick.stage)]
    # At least two digits, and as many as all need: in the order of their names the files are in training order.
    digits = max(2, len(str(len(stages) - 1)))
    side: list[Mapping[str, Any]] = []
    for number, stage in enumerate(stages):
        name = f"stage_{number:0{digits}}.jsonl"
        side += (
            {"file": name, "line": line, **own_fields(row), **meta_field(row)}
            for line, row in enumerate(stage, start=1)
        )
        yield DataFile(name, len(stage), json_lines(map(_row, stage)))
    yield DataFile(SIDE_FILE, len(rows), json_lines(side))


def _row(row: Row) -> dict[str, Any]:
    source = {} if row.source is None else {"datasource": row.source}
    return {"input": row.messages, "label": answer_text(row.answer) or "", **source}


def _recipe(context: Context) -> str:
    is_text = context.kind == "prompts"
    return RECIPE.format(
        batch=context.batch,
        answer=context.answer_or_empty,
        side_file=SIDE_FILE,
        more=PROMPT if is_text else ITEM,
    )


def _warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    shuffled = (
        "OpenRLHF shuffles every file that it reads: the order of the stages is kept by one run per stage, the order "
        "from easy to hard within a stage is lost."
    )
    return [shuffled, *_partial_rollouts(batches)]


def _partial_rollouts(batches: Batches) -> list[str]:
    size = batches.size
    partial = [] if size is None else [(n, rows) for n, rows in enumerate(batches.stages) if rows % size]
    if not partial:
        return []
    shown = ", ".join(f"stage {number} ({rows} rows)" for number, rows in partial[:SHOWN_STAGES])
    more = f" and {len(partial) - SHOWN_STAGES} more" if len(partial) > SHOWN_STAGES else ""
    return [
        f"These stages are no multiple of a rollout batch of {size}: {shown}{more}. Their runs end with a smaller "
        f"rollout, and OpenRLHF leaves out what does not fill a training batch. Use a batch size that divides them, or "
        f"select with a curriculum.group_size that is a multiple of {size}."
    ]


TARGET = Target("openrlhf", "OpenRLHF", _files, _recipe, checked_with="openrlhf 0.11.2", warnings=_warnings)
