"""Jobs as the API shows them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from minirec.api_schemas import (
    Counts,
    JobError,
    Selection,
    SelectionCreate,
    TrainingJob,
    TrainingJobCreate,
)
from minirec.store.jobs import JobRecord


def selection_view(record: JobRecord) -> Selection:
    """Return a selection's state, from its record."""
    request = SelectionCreate.model_validate_json(record.fields["request"])
    counts = _counts(record)
    return Selection(
        counts=counts,
        estimated_finish=_estimated_finish(record, counts),
        request=request,
        **common_fields(record, request.metadata),
    )


def training_job_view(record: JobRecord) -> TrainingJob:
    """Return a training job's state, from its record."""
    request = TrainingJobCreate.model_validate_json(record.fields["request"])
    return TrainingJob(
        updates_done=_updates_done(record),
        updates_total=record.json("updates_total"),
        request=request,
        **common_fields(record, request.metadata),
    )


def common_fields(record: JobRecord, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what jobs of all kinds show."""
    error = record.json("error")
    return {
        "id": record.id,
        "status": record.status,
        "stage": record.stage if record.status in ("running", "cancelling") else None,
        "dataset_id": record.fields["dataset_id"],
        "created_at": float(record.fields["created_at"]),
        "started_at": record.time("started_at"),
        "finished_at": record.time("finished_at"),
        "stage_finish": _stage_finish(record),
        "worker_seconds": float(record.fields.get("worker_seconds", 0)),
        "lost_workers": int(record.fields.get("lost_workers", 0)),
        "error": None if error is None else JobError.model_validate(error),
        "result": record.json("result") if record.status == "succeeded" else None,
        "provenance": record.json("provenance") or {},
        "metadata": metadata,
    }


def _updates_done(record: JobRecord) -> int:
    if record.status == "succeeded":
        return int(record.json("result")["updates"])
    if record.stage == "training" and record.group is not None:
        return record.group.progress
    return int(record.fields.get("updates_done", 0))


def _counts(record: JobRecord) -> Counts:
    failed = len((record.json("error") or {}).get("sample_ids", ()))
    cached = int(record.fields.get("cached:scoring", 0))
    if record.status == "succeeded":
        size = record.json("result")["pool_size"]
        return Counts(total=size, scored=size, cached=min(size, cached))
    pool = int(record.fields["pool_size"])
    if record.group is None or record.stage in ("preparing", "planning"):
        return Counts(total=pool, failed=failed)
    if record.stage == "selecting":
        return Counts(total=pool, scored=pool, cached=min(pool, cached), failed=failed)
    done = record.group.progress
    cached = int(record.fields.get("inherited", 0)) + record.group.cached
    return Counts(total=record.group.total, scored=done, cached=min(done, cached), failed=failed)


def _stage_finish(record: JobRecord) -> float | None:
    """Return when the present stage will be through at its pace so far; what was cached says nothing about the pace."""
    since, group = record.time("stage_at"), record.group
    if record.status != "running" or since is None or group is None:
        return None
    computed = group.progress - group.cached - int(record.fields.get("inherited", 0))
    now = time.time()
    return now + (now - since) * (group.total - group.progress) / computed if computed > 0 else None


def _estimated_finish(record: JobRecord, counts: Counts) -> float | None:
    """Return when scoring will be through at its pace so far; what was cached says nothing about the pace."""
    since, computed = record.time("stage_at"), counts.scored - counts.cached
    if record.status != "running" or record.stage != "scoring" or since is None or computed <= 0:
        return None
    now = time.time()
    return now + (now - since) * (counts.total - counts.scored) / computed
