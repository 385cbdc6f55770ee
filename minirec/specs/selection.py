"""Specs of a selection's stages."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from minirec.api_schemas import ProxySettings, RolloutSettings, TextReward
from minirec.api_schemas.common import OPERATIONAL
from minirec.api_schemas.datasets import Kind
from minirec.api_schemas.kept_texts import KeptTexts
from minirec.api_schemas.selections import PoolSettings, Profile
from minirec.specs import outputs
from minirec.specs.base import WITH_PROMPTS, JobSpec, PinnedModel, Queue, UnitSpec
from minirec.store.names import result_columns


class PrepareSelection(JobSpec):
    """Check the model, draw the pool, plan the stages that follow."""

    HANDLER, VERSION, QUEUE, PREFIX = "prepare", "1", "cpu", "prepare"

    on_gpu_queue: bool = False
    """Prepare where the model will run, since no worker there has said yet what it computes in."""

    @property
    def queue(self) -> Queue:
        """The cpu queue, or that of the scores."""
        return "gpu" if self.on_gpu_queue else "cpu"

    @property
    def group(self) -> str:
        """The job's own group, one per queue."""
        return f"{self.PREFIX}-gpu:{self.job_id}" if self.on_gpu_queue else super().group


class PoolOfRows(UnitSpec):
    """Work on a pool, which is drawn again by whoever needs it, and named by what came out of the draw."""

    content_hash: str
    kind: Kind = "interactions"
    """What the dataset has."""
    rows: str
    """Fingerprint of the pool's rows."""
    pool: Annotated[PoolSettings, OPERATIONAL]
    """How they were drawn."""
    left_out: Annotated[str | None, OPERATIONAL] = None
    """Name of the check that found prompts too long, which are left out of the draw."""


class CheckSpec(PoolOfRows):
    """Try a model's files and all prompts of a pool out, without the weights; a unit is a shard of its samples."""

    HANDLER, VERSION, QUEUE = "check", f"1+{WITH_PROMPTS}", "cpu"
    SHARD_SIZE: ClassVar[int] = 20_000
    """Samples: minutes of work. Whoever changes it raises `VERSION`."""

    model: PinnedModel
    window: int
    """History items that a prompt shows."""
    max_new_tokens: int
    """Tokens that there has to be room for behind a prompt."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The folder of the reports."""
        return (outputs.check_folder(self.name),)

    def shard_blob(self, shard: int) -> str:
        """Return the blob of a shard's report: a `PoolReport` as JSON. The first one covers the items, too."""
        return f"{outputs.check_folder(self.name)}{shard:06d}.json"


class PlanSelection(JobSpec):
    """Leave out what does not fit, or refuse it, and plan the stages that follow."""

    HANDLER, VERSION, QUEUE, PREFIX = "plan", "1", "cpu", "plan"

    check: str
    """Name of the pool's check."""
    validation_check: str | None = None
    """Name of the check of the validation samples that are scored, too."""


class ProxySpec(PoolOfRows):
    """Train a proxy on a part of the pool."""

    HANDLER, VERSION, QUEUE = "proxy", f"3+{WITH_PROMPTS}", "train"

    model: PinnedModel
    rollouts: RolloutSettings
    settings: ProxySettings

    @field_validator("rollouts")
    @classmethod
    def _samples_with_transformers(cls, rollouts: RolloutSettings) -> RolloutSettings:
        # Whichever engine samples for the scores.
        return rollouts.model_copy(update={"engine": "transformers"})

    @property
    def outputs(self) -> tuple[str, ...]:
        """Adapter and checkpoints."""
        return (outputs.proxy_folder(self.name),)


class CatalogueSpec(UnitSpec):
    """Embed a dataset's items; a unit is a shard of them."""

    HANDLER, VERSION, QUEUE = "catalogue", f"3+{WITH_PROMPTS}", "gpu"

    content_hash: str
    model: PinnedModel
    proxy: str | None = None
    """Name of the trained proxy whose adapter is on the model."""
    shard_size: Annotated[int, Field(ge=1), OPERATIONAL]
    """Items."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The items' vectors."""
        return (self.folder,)

    @property
    def folder(self) -> str:
        """Blobs of all shards."""
        return f"catalogues/{self.name}/"

    def shard_blob(self, shard: int) -> str:
        """Return the blob with the unit vectors of a shard's items.

        Sizes are part of blob names: an operator may change them while blobs of the old sizes are still there.
        """
        return f"{self.folder}{self.shard_size}/{shard:06d}.safetensors"


class ScoreSpec(PoolOfRows):
    """Score a pool; a unit is a shard of its samples."""

    HANDLER, VERSION, QUEUE = "score", f"4+{WITH_PROMPTS}", "gpu"

    model: PinnedModel
    proxy: str | None = None
    """Name of the trained proxy whose adapter is on the model."""
    rollouts: RolloutSettings
    profile: Profile = "minirec"
    catalogue: str | None = None
    """Name of the embedded catalogue; None for prompts."""
    rewards: tuple[TextReward, ...] | None = None
    """What answers to prompts earn; None for interactions."""
    texts: KeptTexts | None = None
    """Which texts of rollouts are kept beside the scores; None keeps none."""
    shard_size: Annotated[int, Field(ge=1), OPERATIONAL]
    """Samples."""
    micro_batch: Annotated[int, Field(ge=1), OPERATIONAL]
    """Samples per checkpoint within a shard."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Vectors and scores."""
        return (self.folder, outputs.columns_output(self.columns))

    @property
    def columns(self) -> str:
        """Rewards, and what else was measured per sample or rollout."""
        return outputs.scores_columns(self.name)

    @property
    def folder(self) -> str:
        """Blobs of all shards."""
        return f"scorings/{self.name}/"

    def shard_blob(self, shard: int) -> str:
        """Return the blob with all that was measured of a shard: rewards, gradients, products, embeddings."""
        return f"{self.folder}{self.shard_size}/shard-{shard:06d}.safetensors"

    def texts_blob(self, shard: int) -> str:
        """Return the blob with the texts of a shard's rollouts (`minirec.store.texts`)."""
        return f"{self.folder}{self.shard_size}/texts-{shard:06d}.parquet"

    def part_blob(self, shard: int, part: int) -> str:
        """Return the blob with a checkpoint within a shard: all that was measured of one micro-batch."""
        return f"{self.folder}{self.shard_size}/{self.micro_batch}/part-{shard:06d}-{part:04d}.safetensors"


class SelectSpec(JobSpec, PoolOfRows):
    """Choose from a scored pool, or by uploaded signals from those of its samples that have some."""

    HANDLER, VERSION, QUEUE, PREFIX = "select", "3", "cpu", "select"

    scoring: str | None = None
    """Name of the scores."""
    towards: str | None = None
    """Name of the scores of the validation samples that the choice matches; None for the pool."""
    signals: str | None = None
    """Content hash of the uploaded signals."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The finished selection, and what people look at."""
        return (outputs.columns_output(result_columns(self.job_id)), outputs.selection_folder(self.job_id))
