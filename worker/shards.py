"""Scoring a shard of the pool, whatever is measured: micro-batch by micro-batch, each a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from minirec.specs import DeviceType, ScoreSpec
from minirec.store.blobs import Arrays, BlobStore
from minirec.store.columns import as_shown, pack, shard_field
from minirec.store.errors import BlobMissingError
from minirec.store.machine import Outcome
from minirec.store.texts import encode_texts, rows_of, without_texts
from minirec.worker.work import Work

DEVICES: tuple[DeviceType, ...] = ("cpu", "cuda")
"""What the numbers of the array `device` mean."""


@dataclass(frozen=True)
class Measure:
    """What is measured of samples."""

    of: Callable[[list[int]], Arrays]
    """Measures those in some rows of the dataset."""
    at_once: int = 1
    """Samples that keep the device busy."""
    device: DeviceType = "cpu"
    """What it computes on."""


def score_shard(
    work: Work, spec: ScoreSpec, rows: list[int], ids: list[str], start_measuring: Callable[[], Measure]
) -> Outcome:
    """Measure the unit's rows, store all of it, and return the shard's columns for the commit.

    Args:
        work: The claim on the unit.
        spec: What to measure.
        rows: The shard's rows of the dataset, in pool order.
        ids: Their samples' ids.
        start_measuring: Loads the model and returns the measure; called at most once, and only if anything is missing.
    """
    blobs, unit = work.store.blobs, work.claim.unit
    blob = spec.shard_blob(unit)
    # What is not there is found out by reading: where the store is far away, every question takes its time.
    if (shard := _there(blobs, blob)) is not None:
        # The shard was scored and only its commit was lost.
        work.progress(len(rows), cached=len(rows))
    else:
        if work.claim.attempt > 1:
            work.record_samples(ids)
        shard, stored = _score(work, spec, rows, cache(start_measuring))
        if spec.texts is not None:
            # Before the shard: where that is, its texts are.
            blobs.put_bytes(spec.texts_blob(unit), encode_texts(shard))
        blobs.put_arrays(blob, without_texts(shard))
        if stored:
            blobs.delete(*stored)
    columns = pack(shown_columns(shard))
    return Outcome(writes=[(work.store.columns.key(spec.columns), shard_field(unit), columns)])


def shown_columns(shard: Arrays) -> Arrays:
    """Return what results show of a shard; all that was measured is in its blob."""
    hits = shard["hit"] if "hit" in shard else shard["ndcg"] > 0
    return {"rewards": as_shown(shard["reward"]), "hit": hits.astype(np.uint8)}


def _there(blobs: BlobStore, name: str) -> Arrays | None:
    """Return a blob's arrays, None where it is not there. Raises BlobCorruptError."""
    try:
        return blobs.get_arrays(name)
    except BlobMissingError:
        return None


def _score(work: Work, spec: ScoreSpec, rows: list[int], measure: Callable[[], Measure]) -> tuple[Arrays, list[str]]:
    """Measure the rows, part by part; those that an earlier attempt has measured are read.

    A part is what is stored at once. Parts that follow each other are measured together where one is too small for the
    device. The last ones are not stored: the shard itself is, right after them.

    Returns:
        What was measured of all rows, and the names of the parts that are stored.
    """
    blobs, unit, size = work.store.blobs, work.claim.unit, spec.micro_batch
    names = [spec.part_blob(unit, index) for index in range(-(-len(rows) // size))]
    parts: list[Arrays] = []
    while len(parts) < len(names) and (part := _there(blobs, names[len(parts)])) is not None:
        parts.append(part)
        done = min(len(rows), size * len(parts))
        work.progress(done, cached=done - size * (len(parts) - 1))
    stored = names[: len(parts)]
    while len(parts) < len(names):
        first = len(parts)
        last = min(len(names), first + max(1, measure().at_once // size))
        batch = rows[first * size : last * size]
        # Of each sample, since the parts of a shard may come from several workers.
        device = np.full(len(batch), DEVICES.index(measure().device), np.uint8)
        measured = {**measure().of(batch), "device": device}
        for index in range(first, last):
            own = slice((index - first) * size, (index - first + 1) * size)
            parts.append(rows_of(measured, own))
            if last < len(names):
                blobs.put_arrays(names[index], parts[-1])
                stored.append(names[index])
        work.progress(first * size + len(batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, stored
