"""What a selection needs done once its pool is drawn and its model is pinned."""

from __future__ import annotations

from dataclasses import dataclass

from minirec.api_schemas import KeptTexts, ProxySettings, SelectionCreate
from minirec.settings import Settings
from minirec.specs import CatalogueSpec, PinnedModel, ProxySpec, ScoreSpec, SelectSpec
from minirec.specs.selection import PoolOfRows
from minirec.store.machine import Stage


@dataclass(frozen=True, slots=True)
class Plan:
    """The specs of a selection by a model."""

    proxy: ProxySpec | None
    catalogue: CatalogueSpec | None
    score: ScoreSpec
    validation: ScoreSpec | None
    """Of the validation samples whose mean gradient is matched."""
    select: SelectSpec

    def stages(self, *, items: int, samples: int, validation: int = 0) -> list[Stage]:
        """Return the stages from here on, for so many items, samples of the pool, and validation samples."""
        stages = []
        if self.proxy is not None:
            stages.append(self.proxy.stage("training_proxy", total=self.proxy.settings.updates))
        if self.catalogue is not None:
            units = shards(items, self.catalogue.shard_size)
            stages.append(self.catalogue.stage("embedding_catalogue", units=units, total=items))
        units = shards(samples, self.score.shard_size)
        stages.append(self.score.stage("scoring", units=units, total=samples))
        if self.validation is not None:
            units = shards(validation, self.validation.shard_size)
            stages.append(self.validation.stage("scoring_validation", units=units, total=validation))
        return [*stages, self.select.stage("selecting")]


def plan_selection(
    job_id: str,
    request: SelectionCreate,
    pool: PoolOfRows,
    model: PinnedModel,
    settings: Settings,
    *,
    validation: PoolOfRows | None = None,
) -> Plan:
    """Return what a selection by a model needs done.

    Args:
        job_id: The selection's id.
        request: What was asked for.
        pool: The dataset's content and the pool's rows.
        model: The policy, pinned.
        settings: Sizes of shards.
        validation: The validation samples that are scored, too.
    """
    common = pool.model_dump()
    proxy = catalogue = None
    if isinstance(request.proxy, ProxySettings):
        proxy = ProxySpec(**common, model=model, rollouts=request.rollouts, settings=request.proxy)
    if request.rewards is None:
        catalogue = CatalogueSpec(
            content_hash=pool.content_hash,
            model=model,
            proxy=proxy and proxy.name,
            shard_size=settings.catalogue_shard_size,
        )
    score = ScoreSpec(
        **common,
        model=model,
        proxy=proxy and proxy.name,
        rollouts=request.rollouts,
        profile=request.profile,
        catalogue=catalogue and catalogue.name,
        rewards=None if request.rewards is None else tuple(request.rewards),
        texts=kept_texts(request),
        shard_size=settings.shard_size,
        micro_batch=settings.micro_batch,
    )
    beside = None if validation is None else ScoreSpec(**score.model_dump() | validation.model_dump())
    towards = beside and beside.name
    return Plan(
        proxy, catalogue, score, beside, SelectSpec(**common, job_id=job_id, scoring=score.name, towards=towards)
    )


def kept_texts(request: SelectionCreate) -> KeptTexts | None:
    """Return which texts scoring keeps; there are no more than rollouts. None for none."""
    rollouts = min(request.texts.rollouts, request.rollouts.group_size)
    return request.texts.model_copy(update={"rollouts": rollouts}) if rollouts else None


def shards(total: int, size: int) -> int:
    """Return how many shards of a size hold everything."""
    return -(-total // size)
