"""Train with TRL on an export of prompts: in the selection's order, with the selection's rewards.

    minirec export sel_... --format trl -o for-trl
    python trl_grpo.py for-trl --model HuggingFaceTB/SmolLM2-135M-Instruct

Prints the mean reward of every step, and writes model and completions into `trl-run`. The log has the samples' ids, so
what the answers earned can be uploaded and selected by (docs/tutorials/own-rewards.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from minirec.api_schemas import TextReward
from minirec.rewards import Scorer


def rewards_of(export: Path) -> list[TextReward]:
    """Return the rewards that the selection was made with, from the export's manifest."""
    selection = json.loads((export / "manifest.json").read_text())["selection"]
    named = selection.get("request", {}).get("rewards") or [{"name": "exact_answer"}]
    return [TextReward(name=reward["name"], weight=reward.get("weight", 1.0)) for reward in named]


def reward_of(rewards: list[TextReward]) -> Callable[..., list[float]]:
    """Return what TRL calls for each batch: the weighted sum of the rewards."""
    score = Scorer(rewards)

    def minirec_reward(completions: Any, minirec_row: Any, minirec_id: Any, log_extra: Any, **_: Any) -> list[float]:
        log_extra("minirec_id", minirec_id)
        return [
            score(turns[0]["content"], json.loads(row)) for turns, row in zip(completions, minirec_row, strict=True)
        ]

    return minirec_reward


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description="Train with TRL on an export of prompts.")
    parser.add_argument("export", type=Path, help="folder that `minirec export --format trl` made")
    parser.add_argument("--model", required=True, help="hub id or folder")
    parser.add_argument("--group", type=int, default=4, help="answers per prompt")
    parser.add_argument("--prompts", type=int, default=4, help="prompts per step")
    parser.add_argument("--steps", type=int, default=-1, help="-1: one epoch")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, default=Path("trl-run"))
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    config = GRPOConfig(
        output_dir=str(options.output),
        shuffle_dataset=False,  # the order is the curriculum
        num_generations=options.group,
        generation_batch_size=options.group * options.prompts,
        per_device_train_batch_size=options.group * options.prompts,
        max_completion_length=options.max_new_tokens,
        max_steps=options.steps,
        num_train_epochs=1,
        learning_rate=1e-5,
        logging_steps=1,
        log_completions=True,
        num_completions_to_print=1,
        report_to=[],
        save_strategy="no",
        use_cpu=options.cpu,
        bf16=not options.cpu,
    )
    trainer = GRPOTrainer(
        model=options.model,
        reward_funcs=[reward_of(rewards_of(options.export))],
        args=config,
        train_dataset=load_dataset("parquet", data_files=str(options.export / "train.parquet"), split="train"),
    )
    trainer.train()
    for line in trainer.state.log_history:
        if "reward" in line:
            print(f"step {line['step']}: mean reward {line['reward']:.4f}")
    trainer.save_model(str(options.output / "model"))


if __name__ == "__main__":
    main()
