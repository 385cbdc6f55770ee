"""Reinforcement learning of a policy: the settings that the proxy and the training jobs share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import OPERATIONAL, NonNegative, Positive, PositiveInt, Request, Seed


class GrpoSettings(Request):
    """GRPO with the recommendation head and LoRA (docs/method.md, section 7)."""

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Step size of AdamW."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """`linear` falls from `learning_rate` to zero over the run: the last batches no longer decide what comes out."""
    batch_size: PositiveInt = 8
    """Samples per update; each brings a group of rollouts."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Probability ratios below 1 minus this are clipped."""
    clip_high: Positive = 0.28
    """Probability ratios above 1 plus this are clipped."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this L2 norm."""
    token_loss_weight: NonNegative = 1.0
    """Weight of the loss over the reasoning tokens."""
    item_loss_weight: NonNegative = 1.0
    """Weight of the loss over the softmax of a target and its negatives."""
    item_negatives: PositiveInt | None = 16
    """A target's negatives in the item loss: up to this many random items of the catalogue, drawn anew in every
    update for all of its samples, without a sample's own history. Null: the targets of the batch's other samples, as
    published."""
    lora_rank: Annotated[int, Field(gt=0, le=4096)] = 4
    """Rank of the adapter's matrices."""
    lora_alpha: PositiveInt = 128
    """The adapter is scaled by this over its rank."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is dropped in training."""
    catalogue_refresh: PositiveInt = 10
    """Updates between two embeddings of the catalogue under the changing policy."""
    seed: Seed = 0
    """Of rollouts, dropout and the adapter's first weights."""
    gradient_checkpointing: Annotated[bool | None, OPERATIONAL] = None
    """Whether activations are computed again in the backward pass: less memory, more time. Null: on a GPU."""
    micro_batch_tokens: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Most tokens that go through the model at once in the pass with gradients, whose sum over all of a batch's
    micro-batches is one step. A prompt with one rollout is never cut. Null: what memory allows."""


class ProxyGrpoSettings(GrpoSettings):
    """GRPO for a proxy: few updates, so larger ones."""

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """At the 1e-5 of a full training run, a few dozen updates stay below what bfloat16 can tell apart."""


class ProxySettings(Request):
    """A short GRPO run on a small random subset, so that rewards mean something (docs/method.md, section 2)."""

    samples: PositiveInt = 256
    """Random samples of the pool that it is trained on."""
    updates: PositiveInt = 30
    """Updates of its training."""
    grpo: ProxyGrpoSettings = ProxyGrpoSettings()
    """How it is trained."""
