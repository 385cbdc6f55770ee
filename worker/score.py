"""Score a shard of the pool: one rollout pass gives rewards, gradients, Hessian-vector products, embeddings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from api_schemas import RolloutSettings
from minirec.data.dataset import Dataset
from minirec.policy.scoring import score_samples
from minirec.store.blobs import Arrays
from minirec.store.columns import pack, shard_field
from minirec.store.machine import Outcome
from worker import plan
from worker.catalogue import load_catalogue
from worker.datasets import open_dataset
from worker.policies import policy_of
from worker.work import Work

VECTORS = ("gradient", "hvp", "teacher", "embedding")


def run(work: Work) -> Outcome:
    """Score micro-batch by micro-batch, each a checkpoint; then commit the shard's columns."""
    spec = work.claim.spec
    dataset = open_dataset(work.store.blobs, spec["content_hash"])
    rows = shard_rows(work.store.blobs.get_arrays(plan.pool_blob(spec["name"]))["rows"], work)
    blob = plan.shard_blob(spec, work.claim.unit)
    if work.store.blobs.exists(blob):
        # The shard was scored and only its commit was lost.
        work.progress(len(rows), cached=len(rows))
        shard = work.store.blobs.get_arrays(blob)
    else:
        shard = _score(work, dataset, rows)
        work.store.blobs.put_arrays(blob, shard)
        for index in range(-(-len(rows) // spec["micro_batch"])):
            work.store.blobs.delete(plan.part_blob(spec, work.claim.unit, index))
    key = work.store.columns.key(plan.scores_columns(spec["name"]))
    scores = {name: values for name, values in shard.items() if name not in VECTORS}
    return Outcome(writes=[(key, shard_field(work.claim.unit), pack(scores))])


def _score(work: Work, dataset: Dataset, rows: list[int]) -> Arrays:
    if work.claim.attempt > 1:
        work.about([dataset.ids[row] for row in rows])
    size = work.claim.spec["micro_batch"]
    parts = [
        _part(work, dataset, rows[start : start + size], index, start)
        for index, start in enumerate(range(0, len(rows), size))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def shard_rows(pool: np.ndarray[Any, Any], work: Work) -> list[int]:
    """The dataset rows of this unit's shard, in pool order."""
    size = work.claim.spec["shard_size"]
    return [int(row) for row in pool[work.claim.unit * size : (work.claim.unit + 1) * size]]


def _part(work: Work, dataset: Dataset, rows: list[int], index: int, before: int) -> Arrays:
    spec = work.claim.spec
    blob = plan.part_blob(spec, work.claim.unit, index)
    if work.store.blobs.exists(blob):
        part = work.store.blobs.get_arrays(blob)
        work.progress(before + len(rows), cached=len(rows))
        return part
    scored = score_samples(
        policy_of(work),
        load_catalogue(work.store, spec["catalogue"]),
        dataset.items,
        [dataset.sample(row) for row in rows],
        rollouts=RolloutSettings.model_validate(spec["rollouts"]),
        profile=spec["profile"],
    )
    part = asdict(scored)
    work.store.blobs.put_arrays(blob, part)
    work.progress(before + len(rows))
    return part
