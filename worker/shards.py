"""Scoring a shard of the pool, whatever is measured: micro-batch by micro-batch, each a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from minirec.specs import DeviceType, ScoreSpec
from minirec.store.blobs import Arrays
from minirec.store.columns import as_shown, pack, shard_field
from minirec.store.machine import Outcome
from minirec.store.texts import encode_texts, rows_of, without_texts
from worker.work import Work

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
    if blobs.exists(blob):
        # The shard was scored and only its commit was lost.
        work.progress(len(rows), cached=len(rows))
        shard = blobs.get_arrays(blob)
    else:
        if work.claim.attempt > 1:
            work.record_samples(ids)
        shard = _score(work, spec, rows, cache(start_measuring))
        if spec.texts is not None:
            # Before the shard: where that is, its texts are.
            blobs.put_bytes(spec.texts_blob(unit), encode_texts(shard))
        blobs.put_arrays(blob, without_texts(shard))
        blobs.delete(*_parts(spec, unit, rows))
    columns = pack(shown_columns(shard))
    return Outcome(writes=[(work.store.columns.key(spec.columns), shard_field(unit), columns)])


def shown_columns(shard: Arrays) -> Arrays:
    """Return what results show of a shard; all that was measured is in its blob."""
    hits = shard["hit"] if "hit" in shard else shard["ndcg"] > 0
    return {"rewards": as_shown(shard["reward"]), "hit": hits.astype(np.uint8)}


def _parts(spec: ScoreSpec, unit: int, rows: list[int]) -> list[str]:
    return [spec.part_blob(unit, index) for index in range(-(-len(rows) // spec.micro_batch))]


def _score(work: Work, spec: ScoreSpec, rows: list[int], measure: Callable[[], Measure]) -> Arrays:
    """Measure the rows, part by part; those that an earlier attempt has measured are read.

    A part is what is stored at once. Parts that follow each other are measured together where one is too small for the
    device.
    """
    blobs, unit, size = work.store.blobs, work.claim.unit, spec.micro_batch
    names = _parts(spec, unit, rows)
    # One listing, where the store is far away; the parts of a shard are in one folder.
    folder = names[0].rsplit("/", 1)[0]
    there = {f"{folder}/{file}" for file in blobs.files(folder)}
    found = [name in there for name in names]
    parts: list[Arrays] = []
    while len(parts) < len(names):
        first = len(parts)
        if found[first]:
            parts.append(blobs.get_arrays(names[first]))
            work.progress(min(len(rows), size * len(parts)), cached=min(len(rows), size * len(parts)) - size * first)
            continue
        most = first + max(1, measure().at_once // size)
        last = next((index for index in range(first, len(names)) if found[index] or index == most), len(names))
        batch = rows[first * size : last * size]
        # Of each sample, since the parts of a shard may come from several workers.
        device = np.full(len(batch), DEVICES.index(measure().device), np.uint8)
        measured = {**measure().of(batch), "device": device}
        for index in range(first, last):
            own = slice((index - first) * size, (index - first + 1) * size)
            parts.append(rows_of(measured, own))
            blobs.put_arrays(names[index], parts[-1])
        work.progress(first * size + len(batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
