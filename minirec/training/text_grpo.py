"""`train_text`: GRPO on prompts with TRL's trainer, in the order given, with checkpoints to resume from.

TRL rolls out, scores and steps. Around it: the order, which its sampler would shuffle and whose end it would drop; the
best adapter on validation prompts; a checkpoint that is whole or not there; and randomness that follows from the seed
and the number of the update, so that a resumed run draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

from math import gcd
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from minirec.data.dataset import PromptDataset
from minirec.policy.chat import FIXED_DATE
from minirec.policy.policy import Policy
from minirec.policy.prompts import plain_text, text_prompt
from minirec.policy.ranks import SINGLE_PROCESS, Ranks
from minirec.rewards import Scorer
from minirec.training.checkpoint import latest_checkpoint, read_progress
from minirec.training.forward import recomputes_activations
from minirec.training.grpo import TrainResult, identity_of, save_whole
from minirec.training.lora import set_adapter_tensors, with_lora
from minirec.training.settings import Callbacks, RunSettings
from minirec.training.text_metrics import TextMetrics
from minirec.training.text_run import ROW, TextRun

TRL_FOLDER = "trl"
"""Folder, below that of the run, in which TRL writes its own checkpoints before they are complete."""


def train_text(
    policy: Policy,
    dataset: PromptDataset,
    scorer: Scorer,
    settings: RunSettings,
    callbacks: Callbacks | None = None,
    *,
    ranks: Ranks = SINGLE_PROCESS,
) -> TrainResult[TextMetrics]:
    """Train LoRA weights on prompts in their order, again and again, with TRL's `GRPOTrainer`.

    As `train` for interactions: the same callbacks, checkpoints and early stopping, by the mean reward on validation
    prompts. Batches follow each other through the order without a break, across the ends of epochs, so that none is
    smaller: TRL's sampler would drop it.

    Args:
        policy: The model to train an adapter for. It is TRL's for the time being: hand over one that nobody else uses.
        dataset: The prompts.
        scorer: What answers earn.
        settings: What to train on and how.
        callbacks: Who hears of it; they may raise to stop.
        ranks: This process among several that call this with the same arguments; the answers of an update must divide
            among them.

    Raises:
        ValueError: For no rows, groups of one answer, a checkpoint of another run and prompts that do not fit into the
            model's context.
        RewardError: When a reward fails.
    """
    settings.check("prompts")
    out, last, validation = settings.out, settings.last, settings.validation
    identity = identity_of("prompts", dataset, settings)
    with with_lora(policy, settings.grpo) as learning:
        run = TextRun(learning, dataset, scorer, settings, identity, callbacks or Callbacks(), ranks)
        checkpoint = latest_checkpoint(out) if settings.resume else None
        if checkpoint is not None:
            run.progress = read_progress(checkpoint, identity)
        progress = run.progress
        trainer = _trainer(run, out / TRL_FOLDER)
        resumed = None if checkpoint is None or progress.update == 0 else str(checkpoint)
        if resumed is not None:
            trainer._load_from_checkpoint(resumed)
        if validation is not None and validation.is_due(progress, last):
            run.evaluate()
            if progress.update == 0:
                run.keep(out / TRL_FOLDER / "start")
            run.report_evaluation()
        stopped = validation is not None and validation.has_enough(progress)
        if not stopped and progress.update < last:
            _train(trainer, resumed)
        if progress.best is not None:
            set_adapter_tensors(learning, progress.best.weights)
        adapter = out / "adapter"
        if ranks.is_main:
            save_whole(learning, adapter)
    return TrainResult(
        adapter=adapter,
        updates=progress.update,
        samples_seen=progress.update * settings.grpo.batch_size,
        metrics=[TextMetrics(**entry) for entry in progress.metrics],
        evaluations=progress.evaluations,
        best_update=progress.update if progress.best is None else progress.best.update,
        stopped_early=progress.update < last,
    )


def _train(trainer: Any, resumed: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=resumed)
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise ValueError("the policy's probabilities are not finite any more: lower learning_rate") from error


def _trainer(run: TextRun, out: Path) -> Any:
    """Return TRL's trainer for the run, which hears of every step."""
    policy, grpo, rollouts = run.policy, run.settings.grpo, run.settings.rollouts
    policy.tokenizer.chat_template = policy.chat.template
    prompts, longest = _prompts(run)
    sequences, over = divmod(grpo.batch_size * rollouts.group_size, run.ranks.count)
    if over:
        raise ValueError(
            f"{grpo.batch_size} prompts with {rollouts.group_size} answers each do not divide among "
            f"{run.ranks.count} processes: change batch_size or group_size"
        )
    at_once = _sequences_at_once(run.settings, sequences, longest)
    on_cuda = policy.device.type == "cuda"
    config = GRPOConfig(
        output_dir=str(out),
        max_steps=run.settings.last,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=sequences // at_once,
        num_generations=rollouts.group_size,
        max_completion_length=rollouts.max_new_tokens,
        temperature=rollouts.temperature,
        top_k=rollouts.top_k,
        top_p=rollouts.top_p,
        chat_template_kwargs={"date_string": FIXED_DATE} if policy.tokenizer.chat_template else None,
        shuffle_dataset=False,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=grpo.max_grad_norm,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        beta=0.0,
        gradient_checkpointing=recomputes_activations(policy, grpo),
        save_strategy="steps",
        save_steps=run.settings.checkpoint_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=grpo.seed,
        use_cpu=not on_cuda,
        bf16=False,  # The weights' own dtype decides; the adapter's are float32 in any case.
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=policy.model,
        reward_funcs=run.reward,
        args=config,
        train_dataset=prompts,
        processing_class=policy.tokenizer,
        callbacks=[run],
    )


def _prompts(run: TextRun) -> tuple[Dataset, int]:
    """Return the prompts of all updates, one after the other, and the tokens of the longest.

    Raises ValueError for one that does not fit.
    """
    settings = run.settings
    rows, length = settings.rows, settings.last * settings.grpo.batch_size
    order = [int(rows[place % len(rows)]) for place in range(min(length, len(rows)))]
    chat = run.policy.tokenizer.chat_template is not None
    entries, longest = [], 0
    for row in order:
        prompt = run.dataset.prompt(row)
        longest = max(longest, len(text_prompt(run.policy, prompt, room=settings.rollouts.max_new_tokens)))
        messages = run.policy.chat.accepted(prompt.messages)
        entries.append({"prompt": messages if chat else plain_text(messages), ROW: row})
    return Dataset.from_list(entries).select([place % len(order) for place in range(length)]), longest


def _sequences_at_once(settings: RunSettings, sequences: int, longest: int) -> int:
    """Return how many answers go through the pass with gradients together: a group, or what memory is allowed for."""
    if settings.grpo.micro_batch_tokens is None:
        return gcd(sequences, settings.rollouts.group_size)
    most = max(1, settings.grpo.micro_batch_tokens // (longest + settings.rollouts.max_new_tokens))
    return max(size for size in range(1, sequences + 1) if sequences % size == 0 and size <= most)
