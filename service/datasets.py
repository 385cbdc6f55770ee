"""Routes of datasets: upload, look up, list, delete."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api_schemas import Dataset, DatasetDeleted, DatasetRows, Page
from api_schemas.common import LARGEST
from minirec.data.dataset import Dataset as StoredDataset
from minirec.data.ingest import DatasetError, ingest, ingest_prompts
from minirec.store import Store
from minirec.store.errors import InUseError, NotFoundError
from minirec.store.ids import new_id
from minirec.store.names import items_blob, prompts_blob, samples_blob
from minirec.store.retention import discard_signals, drop_dataset, empty_jobs_of, keep_dataset
from minirec.store.tenants import content_name
from service.apart import run_apart
from service.content import content_lock, open_content, until_kept
from service.dependencies import DATASET_ID, DatasetId, Limit, StoreOf
from service.idempotency import Once, OnceOf
from service.lookup import dataset_or_404
from service.problems import ProblemError, invalid, problems
from service.uploads import DATASET, Upload, check_form, copy_files, read_form, scratch

TITLES = 20
"""History items of a row, the most recent ones, whose titles come with it."""
_FACTS = ("n_samples", "n_items", "n_users", "splits", "content_hash", "warnings")

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses=problems(401, 422, 503))


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    responses=problems(400, 409, 413),
    openapi_extra={"requestBody": DATASET.request_body},
)
async def upload_dataset(request: Request, store: StoreOf, once: OnceOf) -> Response:
    """Upload samples and their catalogue, or prompts. They are checked row by row, and stored whole or not at all."""
    form = await read_form(request, DATASET)
    try:
        upload = check_form(form, DATASET)
        return await run_in_threadpool(_answer_upload, store, once, upload)
    finally:
        await form.close()


async def upload_form(form: FormData, store: Store, once: Once) -> Dataset:
    """Store what a parsed form holds, and return its dataset. Raises ProblemError."""
    answer = await run_in_threadpool(_answer_upload, store, once, check_form(form, DATASET))
    return Dataset.model_validate_json(bytes(answer.body))


def _answer_upload(store: Store, once: OnceOf, upload: Upload) -> Response:
    with scratch() as folder:
        paths, fingerprint = copy_files(upload, folder)

        def answer() -> Response:
            dataset = _keep(store, upload, _check(store, upload, paths, folder / "checked"))
            return Response(
                dataset.model_dump_json(),
                201,
                headers={"Location": f"/v1/datasets/{dataset.id}"},
                media_type="application/json",
            )

        return once(fingerprint, answer)


@dataclass(frozen=True)
class _Checked:
    """An upload without a fault: the facts of its record, and its blobs, in the order in which they are stored."""

    facts: dict[str, Any]
    blobs: dict[str, Path]


def _check(store: Store, upload: Upload, paths: dict[str, Path], folder: Path) -> _Checked:
    check = _prompts if "prompts" in paths else _interactions
    try:
        return check(upload, paths, folder, store.tenant)
    except DatasetError as error:
        raise ProblemError(422, "invalid_dataset", str(error), errors=error.errors, total_errors=error.total) from error


def _interactions(upload: Upload, paths: dict[str, Path], folder: Path, tenant: str | None) -> _Checked:
    found = run_apart(
        paths.values(),
        ingest,
        paths["samples"],
        paths["items"],
        folder,
        samples_name=upload.title("samples"),
        items_name=upload.title("items"),
        timestamp_unit=upload.timestamp_unit,
    )
    content = content_name(found.content_hash, tenant)
    facts = {name: getattr(found, name) for name in _FACTS} | {"content_hash": content}
    return _Checked(facts, {items_blob(content): found.items_path, samples_blob(content): found.samples_path})


def _prompts(upload: Upload, paths: dict[str, Path], folder: Path, tenant: str | None) -> _Checked:
    found = run_apart(paths.values(), ingest_prompts, paths["prompts"], folder, name=upload.title("prompts"))
    content = content_name(found.content_hash, tenant)
    facts = {
        "kind": "prompts",
        "n_samples": found.n_prompts,
        "n_items": 0,
        "n_users": 0,
        "splits": found.splits,
        "content_hash": content,
        "warnings": found.warnings,
    }
    return _Checked(facts, {prompts_blob(content): found.path})


def _keep(store: Store, upload: Upload, checked: _Checked) -> Dataset:
    """Store blobs first and the record last: a dataset is there once all of it is."""
    dataset = Dataset(
        id=new_id("ds"), name=upload.name, created_at=time.time(), metadata=upload.metadata, **checked.facts
    )
    with content_lock(store, dataset.content_hash):
        until_kept(lambda: keep_dataset(store, dataset.id, dataset.content_hash))
        try:
            for name, path in checked.blobs.items():
                if not store.blobs.exists(name):
                    store.blobs.put_file(name, path)
            store.datasets.put(dataset)
        except BaseException:
            drop_dataset(store, dataset.id, dataset.content_hash)
            raise
    return dataset


@router.get("")
def list_datasets(
    store: StoreOf, limit: Limit = 20, after: Annotated[str | None, Query(pattern=DATASET_ID)] = None
) -> Page[Dataset]:
    """List datasets, newest first."""
    try:
        data, has_more = store.datasets.page(limit=limit, after=after)
    except NotFoundError as error:
        raise invalid("invalid_cursor", ("query", "after"), str(error)) from error
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


@router.get("/{dataset_id}", responses=problems(404))
def get_dataset(store: StoreOf, dataset_id: DatasetId) -> Dataset:
    """Return one dataset."""
    return dataset_or_404(store, dataset_id)


@router.get("/{dataset_id}/rows", responses=problems(404, 410))
def get_dataset_rows(
    store: StoreOf,
    dataset_id: DatasetId,
    limit: Limit = 20,
    after: Annotated[int | None, Query(ge=0, le=LARGEST, description="Number of the last row seen")] = None,
) -> DatasetRows:
    """Return rows of a dataset as they were uploaded, in their order, with the titles of the items in them."""
    return dataset_rows(store, dataset_or_404(store, dataset_id), start=0 if after is None else after + 1, limit=limit)


def dataset_rows(store: Store, dataset: Dataset, *, start: int, limit: int) -> DatasetRows:
    """Return `limit` rows from the row `start` on. Raises LostError."""
    content = open_content(store, dataset.content_hash)
    numbers = range(start, min(start + limit, dataset.n_samples))
    data: list[dict[str, Any]]
    titles: dict[str, str] = {}
    if isinstance(content, StoredDataset):
        data, known = content.shown(numbers)
        for sample in data:
            titles |= {item: known[item] for item in (*sample["history"][-TITLES:], sample["target"])}
    else:
        data = [content.sample_json(row) for row in numbers]
    has_more = start + limit < dataset.n_samples
    return DatasetRows(data=data, titles=titles, has_more=has_more, next_after=numbers[-1] if has_more else None)


@router.delete("/{dataset_id}", responses=problems(404, 409))
def delete_dataset(store: StoreOf, dataset_id: DatasetId) -> DatasetDeleted:
    """Delete a dataset, its signals, and all that its jobs computed; refused while one of them runs.

    The records of the jobs stay; delete them one by one, before or after. Files and scores are gone from the store
    within seconds, and copies of them on other machines within a minute.
    """
    content = dataset_or_404(store, dataset_id).content_hash
    with content_lock(store, content):
        users = [job.id for job in store.jobs.active() if job.fields.get("dataset_id") == dataset_id]
        if users:
            raise in_use(users[0], dataset_id)
        dataset_or_404(store, dataset_id)  # It may have been deleted since.
        try:
            empty_jobs_of(store, dataset_id)
        except InUseError as error:
            raise in_use(error.by, dataset_id) from error
        if (signals := store.signals.get(dataset_id)) is not None:
            discard_signals(store, dataset_id, signals.content_hash)
            store.signals.delete(dataset_id)
        # The record goes last: who was interrupted can delete the dataset again.
        drop_dataset(store, dataset_id, content)
        store.datasets.delete(dataset_id)
    return DatasetDeleted(id=dataset_id)


def in_use(job_id: str, dataset_id: str) -> ProblemError:
    """Return the answer to deleting what a job needs."""
    return ProblemError(409, "dataset_in_use", f"{job_id} still works on {dataset_id}; cancel it or wait for its end")
