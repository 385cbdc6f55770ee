"""Routes of datasets: upload, look up, list, delete."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from minirec.api_schemas import Dataset, DatasetDeleted, DatasetRows, Page
from minirec.api_schemas.common import LARGEST
from minirec.data.content import check_files
from minirec.data.dataset import Dataset as StoredDataset
from minirec.data.faults import DatasetError
from minirec.service import processing
from minirec.service.content import open_content
from minirec.service.dependencies import AFTER, DATASET_ID, DatasetId, Limit, SettingsOf, StoreOf, Wait
from minirec.service.idempotency import Once, OnceOf
from minirec.service.lookup import dataset_or_404
from minirec.service.problems import ProblemError, invalid, problems
from minirec.service.uploads import DATASET, MAX_NAME, Upload, check_form, copy_files, read_form, scratch
from minirec.store import Store
from minirec.store.contents import content_lock, store_content
from minirec.store.errors import InUseError, NotFoundError
from minirec.store.retention import discard_signals, drop_dataset, empty_jobs_of

TITLES = 20
"""History items of a row, the most recent ones, whose titles come with it."""
AT_ONCE_BYTES = 4 << 20
"""Up to here files are checked sooner than a worker is asked."""
SHA256 = r"^[0-9a-f]{64}$"

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses=problems(401, 422, 503))


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    responses=problems(400, 409, 413) | {202: {"model": Dataset, "description": "Large files: a worker checks them"}},
    openapi_extra={"requestBody": DATASET.request_body},
)
async def upload_dataset(request: Request, store: StoreOf, once: OnceOf) -> Response:
    """Upload samples and their catalogue, or prompts. They are checked row by row, and stored whole or not at all.

    Up to 4 MiB the answer is 201 with the dataset, or 422 with what is wrong in it. Larger files are answered with 202
    and a dataset that is `processing`: read it with `wait` until it is `ready` or `failed`.
    """
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
        large = sum(path.stat().st_size for path in paths.values()) > AT_ONCE_BYTES

        def answer() -> Response:
            dataset = processing.hand_over(store, upload, paths) if large else _take(store, upload, paths, folder)
            return answered(dataset, 202 if large else 201)

        return once(fingerprint, answer)


def _take(store: Store, upload: Upload, paths: dict[str, Path], folder: Path) -> Dataset:
    """Check and store what is checked sooner than a worker is asked. Raises ProblemError."""
    titles = {part: upload.title(part) for part in paths}
    try:
        content = check_files(paths, folder / "checked", titles=titles, timestamp_unit=upload.timestamp_unit)
    except DatasetError as error:
        raise ProblemError(422, "invalid_dataset", str(error), errors=error.errors, total_errors=error.total) from error
    record = processing.record(upload.files, name=upload.name, metadata=upload.metadata)
    dataset = store_content(store, record, content, store.tenant, store.datasets.put)
    assert dataset is not None
    return dataset


def answered(dataset: Dataset, status: int) -> Response:
    """Return the answer to an upload."""
    headers = {"Location": f"/v1/datasets/{dataset.id}"}
    return Response(dataset.model_dump_json(), status, headers=headers, media_type="application/json")


@router.get("")
def list_datasets(
    store: StoreOf,
    limit: Limit = 20,
    after: Annotated[str | None, Query(pattern=DATASET_ID, description=AFTER)] = None,
    name: Annotated[str | None, Query(max_length=MAX_NAME, description="Only datasets of exactly this name")] = None,
    content_hash: Annotated[
        str | None, Query(pattern=SHA256, description="Only datasets with these rows, by their `content_hash`")
    ] = None,
) -> Page[Dataset]:
    """List datasets, newest first."""
    try:
        found, has_more = store.datasets.page(limit=limit, after=after, name=name, content_hash=content_hash)
    except NotFoundError as error:
        raise invalid("invalid_cursor", ("query", "after"), str(error)) from error
    data = [processing.shown(store, dataset) for dataset in found]
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


@router.get("/{dataset_id}", responses=problems(404))
async def get_dataset(store: StoreOf, settings: SettingsOf, dataset_id: DatasetId, wait: Wait = 0) -> Dataset:
    """Return one dataset; with `wait`, as soon as its checking has got on since the request came."""
    return await processing.wait_for(store, settings, dataset_id, wait)


@router.post(
    "/{dataset_id}/cancel", status_code=202, response_model=Dataset, responses=problems(404, 409), name="cancel_dataset"
)
def cancel_dataset(store: StoreOf, dataset_id: DatasetId, once: OnceOf) -> Response:
    """Stop checking the files of a dataset."""
    return once("", lambda: answered(processing.cancel(store, dataset_id), 202))


@router.post(
    "/{dataset_id}/retry", status_code=202, response_model=Dataset, responses=problems(404, 409), name="retry_dataset"
)
def retry_dataset(store: StoreOf, dataset_id: DatasetId, once: OnceOf) -> Response:
    """Check the files again, after a cancellation, or after a failure that was none of theirs."""
    return once("", lambda: answered(processing.retry(store, dataset_id), 202))


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
    within seconds, and copies of them on other machines within a minute. A dataset that is `processing` is cancelled.
    """
    if processing.is_unready(store, dataset_id):
        processing.delete(store, dataset_id)
        return DatasetDeleted(id=dataset_id)
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
