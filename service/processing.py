"""Datasets that are not ready: a worker checks their files, or they turned out to be faulty."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from minirec import tracing
from minirec.api_schemas import Dataset, RowError
from minirec.api_schemas.datasets import DatasetFailure, DatasetProgress
from minirec.service.events import until_changed
from minirec.service.lookup import dataset_missing
from minirec.service.problems import ProblemError
from minirec.settings import Settings
from minirec.specs import IngestSpec, UploadedFile
from minirec.store import Store
from minirec.store.errors import InUseError, NotFoundError
from minirec.store.ids import new_id
from minirec.store.jobs import JobRecord
from minirec.store.tenants import owner
from minirec.store.uploads import folder_of

if TYPE_CHECKING:
    from minirec.service.uploads import Upload

KIND = "ingest"
STOP_SECONDS = 10.0
"""How long a deletion waits for the worker to let go of the files."""


def record(
    files: Collection[str], dataset_id: str | None = None, *, name: str | None, metadata: dict[str, str]
) -> Dataset:
    """Return what is known of a dataset before its files are checked."""
    return Dataset(
        id=dataset_id or new_id("ds"),
        kind="prompts" if "prompts" in files else "interactions",
        status="processing",
        name=name,
        created_at=time.time(),
        n_samples=0,
        n_items=0,
        n_users=0,
        splits={},
        content_hash="",
        metadata=metadata,
    )


def hand_over(store: Store, upload: Upload, paths: Mapping[str, Path]) -> Dataset:
    """Store uploaded files as they are, and have a worker check them."""
    dataset = record(upload.files, name=upload.name, metadata=upload.metadata)
    folder = folder_of(dataset.id)
    files = {}
    for part, path in paths.items():
        store.blobs.put_file(f"{folder}{part}", path)
        files[part] = UploadedFile(title=upload.title(part), blobs=(f"{folder}{part}",))
    spec = IngestSpec(dataset_id=dataset.id, files=files, timestamp_unit=upload.timestamp_unit, folder=folder)
    return begin(store, dataset, spec, n_bytes=sum(path.stat().st_size for path in paths.values()))


def begin(store: Store, dataset: Dataset, spec: IngestSpec, *, n_bytes: int) -> Dataset:
    """Have a worker check files that are stored, and return the dataset as it is now."""
    fields = {"dataset_id": dataset.id} | owner(store.tenant) | tracing.fields()
    # The record first: a worker that does not find it takes the dataset for deleted.
    store.datasets.put_unready(dataset)
    store.machine.create(_job(dataset.id), KIND, fields, [spec.stage("checking", total=max(1, n_bytes))])
    return shown(store, dataset)


def shown(store: Store, dataset: Dataset) -> Dataset:
    """Return a dataset with how far its checking is, or why it failed."""
    if dataset.status == "ready":
        return dataset
    try:
        job = store.jobs.get(_job(dataset.id))
    except NotFoundError:
        failure = DatasetFailure(code="upload_lost", message="its files are not there any more; upload them again")
        return dataset.model_copy(update={"status": "failed", "failure": failure})
    if job.status == "succeeded":
        with suppress(NotFoundError):
            return store.datasets.get(dataset.id)
    if job.status == "failed":
        return dataset.model_copy(update={"status": "failed", "failure": _failure(job)})
    if job.status in ("cancelling", "cancelled"):
        return dataset.model_copy(update={"status": "cancelled"})
    group = job.group
    progress = DatasetProgress(
        bytes_done=group.progress if group else 0,
        bytes_total=group.total if group else 0,
        waiting=job.status == "queued",
    )
    return dataset.model_copy(update={"progress": progress})


def _failure(job: JobRecord) -> DatasetFailure:
    error = job.json("error") or {}
    return DatasetFailure(
        code=error.get("code", "internal_error"),
        message=error.get("message", ""),
        retryable=error.get("retryable", False),
        errors=[RowError.model_validate(fault) for fault in json.loads(error.get("faults", "[]"))],
        total_errors=error.get("total", 0),
    )


def is_unready(store: Store, dataset_id: str) -> bool:
    """Return whether a dataset is there and not ready."""
    try:
        store.datasets.get_unready(dataset_id)
    except NotFoundError:
        return False
    return True


def current(store: Store, dataset_id: str) -> Dataset:
    """Return a dataset, ready or not. Raises ProblemError 404."""
    # It may become ready between the two.
    for get in (store.datasets.get, store.datasets.get_unready, store.datasets.get):
        with suppress(NotFoundError):
            return shown(store, get(dataset_id))
    raise dataset_missing(dataset_id)


async def wait_for(store: Store, settings: Settings, dataset_id: str, seconds: float) -> Dataset:
    """Return a dataset as it is, or as soon as its checking has got on.

    Args:
        store: Where it is.
        settings: The address of Redis is taken from here.
        dataset_id: Its id.
        seconds: How long to wait for a change at most; 0 does not wait.

    Raises:
        ProblemError: 404, there is no such dataset.
    """
    return await until_changed(
        settings,
        store,
        _job(dataset_id),
        lambda: current(store, dataset_id),
        is_over=lambda dataset: dataset.status != "processing",
        compared=lambda dataset: dataset,
        seconds=seconds,
    )


def cancel(store: Store, dataset_id: str) -> Dataset:
    """Stop the checking of a dataset. Raises ProblemError 404 or 409."""
    current(store, dataset_id)
    if not is_unready(store, dataset_id) or store.machine.cancel(_job(dataset_id)) != "ok":
        detail = f"{dataset_id} is not being checked; there is nothing to cancel"
        raise ProblemError(409, "dataset_not_processing", detail)
    return current(store, dataset_id)


def retry(store: Store, dataset_id: str) -> Dataset:
    """Check the files of a dataset again. Raises ProblemError 404 or 409."""
    dataset = current(store, dataset_id)
    if dataset.failure is not None and not dataset.failure.retryable:
        detail = f"the files of {dataset_id} would fail again ({dataset.failure.code}); mend them, and upload them anew"
        raise ProblemError(409, "not_retryable", detail)
    if dataset.status in ("ready", "processing") or store.machine.retry(_job(dataset_id)) != "ok":
        raise ProblemError(409, "not_retryable", f"{dataset_id} is {dataset.status}; there is nothing to retry")
    return current(store, dataset_id)


def delete(store: Store, dataset_id: str) -> None:
    """Delete a dataset that is not ready, with its files. Raises ProblemError 409 while a worker holds on to them."""
    job = _job(dataset_id)
    store.machine.cancel(job)
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            store.machine.delete(job)
            break
        except NotFoundError:
            break
        except InUseError as error:
            if time.monotonic() > deadline:
                detail = f"a worker still reads the files of {dataset_id} and was told to stop; delete it in a moment"
                raise ProblemError(409, "dataset_busy", detail) from error
            time.sleep(0.1)
    with suppress(NotFoundError):  # Another request was faster.
        store.datasets.delete_unready(dataset_id)


def _job(dataset_id: str) -> str:
    return f"ing_{dataset_id.partition('_')[2]}"
