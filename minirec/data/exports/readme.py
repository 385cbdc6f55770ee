"""README.md of an export: the flags with which each trainer keeps the order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minirec.data.exports.writers import SIDE_FILE, Format

CHECKED_WITH: Mapping[Format, str] = {"trl": "trl 1.16", "verl": "verl 0.9.1", "openrlhf": "openrlhf 0.11.2"}
"""The release that an export was loaded with."""

TITLES: Mapping[Format, str] = {
    "trl": "TRL (`GRPOTrainer`)",
    "verl": "verl",
    "openrlhf": "OpenRLHF",
    "jsonl": "any trainer, as JSON Lines",
    "parquet": "any trainer, as Parquet",
    "ids": "any trainer, as sample ids",
}

TRL = """\
```python
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

config = GRPOConfig(
    shuffle_dataset=False,  # the order of the file; true by default
    num_generations=8,
    generation_batch_size=8 * {batch},  # num_generations * prompts per batch
    remove_unused_columns=False,  # the default: rewards get the other columns
)
trainer = GRPOTrainer(
    model="MODEL",
    reward_funcs=[title_reward],  # yours
    args=config,
    train_dataset=load_dataset("parquet", data_files="train.parquet", split="train"),
)
```

Load the file as a whole, not with `streaming=True`. Every epoch has the same order. In each epoch TRL drops the rows
behind the last full batch of `generation_batch_size // num_generations` prompts.

## Columns

`prompt` is a chat. Every other column reaches a reward function as a list: `solution` (also under the name
`ground_truth`) is the title of the item that the user chose, `minirec_item_id` its id, `source` the data set, and
`minirec_id`, `minirec_position`, `minirec_rank`, `minirec_stage` with the scores say which sample it is.
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
- `data_source` is `{source}`, as it was given. verl chooses its reward function by it, and fails with
  `NotImplementedError` for a name that it does not know, unless `reward.custom_reward_function.path` (in older
  versions `custom_reward_function.path`) names a file with
  `compute_score(data_source, solution_str, ground_truth, extra_info)`.

## Columns

`prompt` is a chat. `reward_model.ground_truth` is the title of the item that the user chose. In `extra_info`, `index`
is the sample's row in the data set and `minirec_id` its id; `minirec_item_id` is the target's id, `minirec_position`,
`minirec_rank` and `minirec_stage` are its places, the other fields its scores.
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

`input` is a chat, `label` the title of the item that the user chose; `datasource`, where there is one, names the data
set. A reward function gets `queries, prompts, labels` and nothing else, so ids, ranks and scores are in
`{side_file}`: one line per row, with `file` and `line` (from 1).
"""

PLAIN = """\
The rows are in training order. Switch off whatever shuffling the trainer or its data loader does by default, and give
it a batch size that divides the number of rows, or let it keep the last partial batch.

## Fields

`prompt` is a chat, `answer` the title of the item that the user chose, `item_id` its id, `source` the data set;
`position`, `rank` and `stage` are the sample's places, `scores` what was measured of it.
"""

IDS = """\
`ids` are in training order; `stages` has the curriculum group of each. Look the samples up by id, and switch off
whatever shuffling the trainer or its data loader does by default.
"""

SCORES = """\
## Scores

`pass_rate`: share of the rollouts that hit the target. `reward_mean`, `reward_std`: over the `n_rollouts` rollouts.
`learnability` and `representativeness`: why it was chosen. They were measured with the rewards of the selection,
which are not those of another trainer: see `selection` in `manifest.json`.
"""

MANIFEST = """\
- `manifest.json`: where the rows come from (data set, model, settings, seeds), counts, and a SHA-256 per file
"""

RECIPES: Mapping[Format, str] = {
    "trl": TRL,
    "verl": VERL,
    "openrlhf": OPENRLHF,
    "jsonl": PLAIN,
    "parquet": PLAIN,
    "ids": IDS,
}


def readme(
    format: Format,
    selection_id: str,
    stages: Sequence[int],
    files: Sequence[str],
    *,
    source: str | None,
    batch_size: int | None,
    warnings: Sequence[str],
) -> str:
    """The text for an export whose curriculum stages have so many rows."""
    recipe = RECIPES[format].format(batch=batch_size or "PROMPTS_PER_BATCH", source=source, side_file=SIDE_FILE)
    parts = [
        f"# {selection_id} for {TITLES[format]}\n",
        f"{sum(stages)} samples in training order, in {len(stages)} curriculum stages: easy to hard within each.\n",
        *([f"Checked by loading it with the classes of {CHECKED_WITH[format]}.\n"] if format in CHECKED_WITH else []),
        *(["## Warnings\n", *(f"- {warning}\n" for warning in warnings)] if warnings else []),
        "## Keep the order\n",
        recipe,
        *([] if format == "ids" else [SCORES]),
        "## Files\n",
        "".join(f"- `{name}`\n" for name in files) + MANIFEST,
    ]
    return "\n".join(parts)
