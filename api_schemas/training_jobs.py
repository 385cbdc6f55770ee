"""Training jobs: from a subset, in its order, to a better adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from minirec.api_schemas.common import Echo, Metadata, NonNegative, PositiveInt, Request, Response, Seed, WholeNumber
from minirec.api_schemas.evaluations import Ranking, TextScore
from minirec.api_schemas.jobs import Job, id_pattern
from minirec.api_schemas.models import ModelReference
from minirec.api_schemas.rewards import Rewards
from minirec.api_schemas.rows import Identifier
from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings

Trainer = Literal["rec_grpo", "text_grpo"]


class EarlyStopping(Request):
    """When to stop training before its last epoch: validation no longer brings a better NDCG, or mean reward of text.

    NDCG is that over all ranks, without a cutoff.
    """

    patience: PositiveInt = 5
    """Evaluations without a new best after which training ends."""
    min_delta: NonNegative = 1e-4
    """A rise that is not larger than this does not count."""


class EvaluationSettings(Request):
    """What held-out samples are worth under the policy, one greedy rollout each; those trained on are left out.

    `rec_grpo` ranks the full catalogue, history masked (never the target); `text_grpo` takes the rewards.
    """

    valid_samples: WholeNumber = 256
    """Seeded random part of the `valid` split, evaluated while training; 0 evaluates nothing and keeps the last
    adapter."""
    every: PositiveInt = 16
    """Updates between two evaluations on validation samples; there is one before the first update, too."""
    test_samples: WholeNumber = 1024
    """Seeded random part of the `test` split, evaluated before training and with the best adapter; 0 for none."""
    seed: Seed = 0
    """Of the random parts of `valid` and `test`."""


class TrainingArgs(Request):
    """Arguments of a trainer."""

    epochs: Annotated[int, Field(gt=0, le=1_000_000)] = 10
    """Passes over the samples, at most."""
    updates: PositiveInt | None = None
    """End training after this many updates, whatever `epochs` says."""
    grpo: GrpoSettings = GrpoSettings()
    """How the adapter is updated."""
    rollouts: RolloutSettings | None = None
    """How to sample; null samples as the selection did."""
    rewards: Rewards | None = None
    """Of `text_grpo`: what an answer earns; null takes the selection's."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """Null trains to the end, and still keeps the best adapter."""

    @model_validator(mode="after")
    def _compares_rollouts(self) -> TrainingArgs:
        if self.rollouts is not None and self.rollouts.group_size < 2:
            raise ValueError("GRPO compares the rollouts of a sample: rollouts.group_size must be at least 2")
        return self


class TrainingJobCreate(Request):
    """Body of `POST /v1/training_jobs`: train on a selection's subset in its order, or on given samples in theirs."""

    selection_id: Annotated[str, Field(pattern=id_pattern("sel"))] | None = None
    """Train on the subset of this selection, in its order; without `dataset_id` and `ids`."""
    dataset_id: Annotated[str, Field(pattern=id_pattern("ds"))] | None = None
    """The dataset that `ids` are samples of; without `selection_id`."""
    ids: Annotated[list[Identifier], Field(min_length=1, max_length=100_000)] | None = None
    """Sample ids in training order, with `dataset_id`; up to 100,000 in a body of up to 8 MiB. For more, upload
    them as a dataset of their own."""
    model: ModelReference | None = None
    """The model to train an adapter for; null takes the selection's model, without its proxy."""
    trainer: Trainer = "rec_grpo"
    """`rec_grpo` for interactions: reasoning and the recommendation head. `text_grpo` for prompts."""
    args: TrainingArgs = TrainingArgs()
    """How to train."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What is measured on held-out samples before, while and after training."""
    metadata: Metadata = {}
    """Key-value pairs to keep with the training job; lists can be filtered by them."""

    @model_validator(mode="after")
    def _names_its_samples(self) -> TrainingJobCreate:
        if (self.selection_id is None) == (self.dataset_id is None):
            raise ValueError("give either selection_id, or dataset_id with ids")
        if (self.dataset_id is None) != (self.ids is None):
            raise ValueError("dataset_id and ids belong together")
        if self.dataset_id is not None and self.model is None:
            raise ValueError("model is missing; only a training job on a selection can take the selection's")
        if self.model is not None and self.model.adapter is not None:
            raise ValueError("training starts from a model without an adapter; leave out model.adapter")
        if self.ids is not None and len(set(self.ids)) != len(self.ids):
            raise ValueError("ids names a sample twice")
        self._suits_trainer()
        return self

    def _suits_trainer(self) -> None:
        args = self.args
        if self.trainer == "rec_grpo":
            if args.rewards is not None:
                raise ValueError("args.rewards are text_grpo's; rec_grpo has the reward of its recommendations")
            return
        for name in ("token_loss_weight", "item_loss_weight", "item_negatives", "catalogue_refresh"):
            if getattr(args.grpo, name) != GrpoSettings.model_fields[name].default:
                raise ValueError(f"args.grpo.{name} is rec_grpo's: text_grpo has no recommendation head")
        if args.grpo.learning_rate_schedule != "constant":
            raise ValueError("args.grpo.learning_rate_schedule is rec_grpo's: text_grpo's rate is constant")
        if self.dataset_id is not None and args.rewards is None:
            raise ValueError("args.rewards is missing; only a training job on a selection can take the selection's")
        if args.rollouts is not None and args.rollouts.engine != "transformers":
            raise ValueError("training samples with transformers: leave out args.rollouts.engine")


class TrainingResult(Response):
    """A finished training job in a few numbers."""

    updates: int
    """Updates that were made."""
    samples_seen: int
    """Samples trained on, repeated ones counted again."""
    stopped_early: bool
    """Whether validation ended it before its last epoch."""
    best_update: int
    """Whose adapter is kept: best on validation, or the last where nothing was evaluated; 0 is the model as it was."""
    improved: bool | None = None
    """Whether an update was better than the model as it was, on validation samples. False: the adapter is the start
    itself, and changes nothing. Null where nothing was validated with: the adapter is the last one."""
    warnings: list[str] = []
    """What to know before the adapter is used."""
    valid_ndcg10: float | None = None
    """Of the best adapter, by `rec_grpo`."""
    valid_reward: float | None = None
    """Of the best adapter, by `text_grpo`."""
    test_before: Ranking | TextScore | None = None
    """What the `test` split said before training; null where it was not evaluated."""
    test_after: Ranking | TextScore | None = None
    """What the `test` split said with the best adapter; null where it was not evaluated."""


class Artifact(Response):
    """A file that a training job left."""

    name: str
    """File name; `GET .../artifacts/{name}` returns its content."""
    bytes: int
    """Size of the file in bytes."""


class TrainingJob(Job):
    """A training job. Its stages are preparing, evaluating_before, training, evaluating_after and finishing."""

    object: Literal["training_job"] = "training_job"
    """Always `training_job`."""
    updates_done: int = 0
    """Updates made so far."""
    updates_total: int | None = None
    """Known once the job is prepared."""
    request: Echo[TrainingJobCreate]
    """The request that started it, with what its selection filled in."""
    result: TrainingResult | None = None
    """The outcome in short; null until it has succeeded."""
