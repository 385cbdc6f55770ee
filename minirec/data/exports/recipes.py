"""Texts of an export's README.md: the flags with which each trainer keeps the order, and what its columns are."""

from __future__ import annotations

from collections.abc import Mapping

from api_schemas.datasets import Kind
from minirec.data.exports.writers import Format

TRL = """\
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

VERL = """\
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

OPENRLHF = """\
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

PLAIN = """\
The rows are in training order. Switch off whatever shuffling the trainer or its data loader does by default, and give
it a batch size that divides the number of rows, or let it keep the last partial batch.

## Fields

`prompt` is a chat, `answer` is {answer}. `source` is the data set, `position`,
`rank` and `stage` are the sample's places, `scores` what was measured of it. {more}
"""

IDS = """\
`ids` are in training order; `stages` has the curriculum group of each. Look the samples up by id, and switch off
whatever shuffling the trainer or its data loader does by default.
"""

SCORES = """\
## Scores

`pass_rate`: share of the rollouts that {pass}. `reward_mean`, `reward_std`: over the `n_rollouts` rollouts.
`learnability` and `representativeness`: why it was chosen. They were measured with the rewards of the
selection{elsewhere}: see `selection` in `manifest.json`.
"""

RECIPES: Mapping[Format, str] = {
    "trl": TRL,
    "verl": VERL,
    "openrlhf": OPENRLHF,
    "jsonl": PLAIN,
    "parquet": PLAIN,
    "ids": IDS,
}

TITLE = "the title of the item that the user chose"
ANSWER = 'the answer; several answers are a JSON list in one text, `["Alien", "Brazil"]`'
ANSWERS: Mapping[Kind, Mapping[Format, str]] = {
    "interactions": dict.fromkeys(RECIPES, TITLE),
    "prompts": {
        **dict.fromkeys(RECIPES, f"{ANSWER}, and without an answer it is null"),
        "openrlhf": f"{ANSWER}, and without an answer it is empty",
        "jsonl": "the answer, a text or a list of them, or null",
    },
}
MORE: Mapping[Kind, Mapping[Format, str]] = {
    "interactions": {
        "trl": "`minirec_item_id` is the id of that item.",
        "verl": "`minirec_item_id` is the id of that item.",
        "openrlhf": "`item_id` there is the id of that item.",
        "jsonl": "`item_id` is the id of that item.",
        "parquet": "`item_id` is the id of that item.",
        "ids": "",
    },
    "prompts": {
        "trl": (
            "`minirec_row` is the row as it was uploaded, in JSON. Its further fields are columns too; one whose\n"
            "values are lists, objects or of several types is JSON text.\n\n"
            "`earned` pays {paid}, in one sum. MiniRec is installed where TRL runs "
            "(`pip install\nminirec`)."
        ),
        "verl": (
            "`minirec_row` there is the row as it was\nuploaded, in JSON, with its further fields. `ability` is the "
            "row's own where it has a text of that name, else `general`."
        ),
        "openrlhf": "`meta` there has the row's further\nfields.",
        "jsonl": "`meta` has the row's further fields.",
        "parquet": "`meta` has the row's\nfurther fields, in JSON.",
        "ids": "",
    },
}
PASS: Mapping[Kind, str] = {"interactions": "hit the target", "prompts": "earned something"}
ELSEWHERE: Mapping[Kind, str] = {"interactions": ", which are not those of another trainer", "prompts": ""}

TRL_IMPORTS = """\
import json

from api_schemas import TextReward
"""
TRL_REWARD = """\
from minirec.rewards import Scorer

score = Scorer([{rewards}])


def earned(completions, minirec_row, **columns):
    return [score(turns[0]["content"], json.loads(row)) for turns, row in zip(completions, minirec_row)]

"""
VERL_REWARD = """\

## The same rewards

A file for `reward.custom_reward_function.path` that pays {paid},
as the service's own trainer `text_grpo` does; MiniRec is installed where verl runs (`pip install minirec`):

```python
import json

from api_schemas import TextReward
from minirec.rewards import Scorer

score = Scorer([{rewards}])


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **settings):
    return score(solution_str, json.loads(extra_info["minirec_row"]))
```
"""
