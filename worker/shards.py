"""Scoring a shard of the pool, whatever is measured: micro-batch by micro-batch, each a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minirec.store.blobs import Arrays
from minirec.store.columns import as_shown, pack, shard_field
from minirec.store.machine import Outcome
from worker import plan
from worker.work import Work

Measure = Callable[[list[int]], Arrays]
"""What is measured of the samples in some rows of the dataset."""


def score_shard(work: Work, ids: list[str], measure: Measure) -> Outcome:
    """Measure the unit's rows, store all of it, and commit the shard's columns; `ids` are the dataset's samples."""
    spec, blobs = work.claim.spec, work.store.blobs
    rows = shard_rows(blobs.get_arrays(plan.pool_blob(spec["name"]))["rows"], work)
    blob = plan.shard_blob(spec, work.claim.unit)
    if blobs.exists(blob):
        # The shard was scored and only its commit was lost.
        work.progress(len(rows), cached=len(rows))
        shard = blobs.get_arrays(blob)
    else:
        if work.claim.attempt > 1:
            work.about([ids[row] for row in rows])
        shard = _score(work, rows, measure)
        blobs.put_arrays(blob, shard)
        for index in range(-(-len(rows) // spec["micro_batch"])):
            blobs.delete(plan.part_blob(spec, work.claim.unit, index))
    key = work.store.columns.key(plan.scores_columns(spec["name"]))
    return Outcome(writes=[(key, shard_field(work.claim.unit), pack(shown_columns(shard)))])


def shown_columns(shard: Arrays) -> Arrays:
    """Return what results show of a shard; all that was measured is in its blob."""
    hits = shard["hit"] if "hit" in shard else shard["ndcg"] > 0
    return {"rewards": as_shown(shard["reward"]), "hit": hits.astype(np.uint8)}


def shard_rows(pool: np.ndarray[Any, Any], work: Work) -> list[int]:
    """The dataset rows of this unit's shard, in pool order."""
    size = work.claim.spec["shard_size"]
    return [int(row) for row in pool[work.claim.unit * size : (work.claim.unit + 1) * size]]


def _score(work: Work, rows: list[int], measure: Measure) -> Arrays:
    size = work.claim.spec["micro_batch"]
    parts = [
        _part(work, rows[start : start + size], index, start, measure)
        for index, start in enumerate(range(0, len(rows), size))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part(work: Work, rows: list[int], index: int, before: int, measure: Measure) -> Arrays:
    blob = plan.part_blob(work.claim.spec, work.claim.unit, index)
    if work.store.blobs.exists(blob):
        part = work.store.blobs.get_arrays(blob)
        work.progress(before + len(rows), cached=len(rows))
        return part
    part = measure(rows)
    work.store.blobs.put_arrays(blob, part)
    work.progress(before + len(rows))
    return part
