"""Routes of a dataset's signals: rewards, and perhaps vectors and embeddings, that a platform measured itself."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from minirec.api_schemas import Dataset, SelectionCreate, Signals
from minirec.data.dataset import sample_ids
from minirec.data.faults import DatasetError
from minirec.data.signals import SignalFiles, StoredSignals, read_signals
from minirec.service.apart import run_apart
from minirec.service.content import samples_path
from minirec.service.dependencies import DatasetId, StoreOf
from minirec.service.idempotency import OnceOf
from minirec.service.lookup import dataset_or_404
from minirec.service.problems import ProblemError, problems
from minirec.service.uploads import SIGNALS, Upload, check_form, copy_files, read_form, scratch
from minirec.store import Store
from minirec.store.contents import content_lock, until_kept
from minirec.store.names import signals_blob
from minirec.store.retention import discard_signals, drop_signals, keep_signals

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses=problems(401, 404, 422, 503))


@router.post(
    "/{dataset_id}/signals",
    status_code=201,
    response_model=Signals,
    responses=problems(400, 409, 413),
    openapi_extra={"requestBody": SIGNALS.request_body},
)
async def upload_signals(request: Request, dataset_id: DatasetId, store: StoreOf, once: OnceOf) -> Response:
    """Upload rewards of a dataset's samples; they replace those uploaded before.

    A selection with `"signals": "uploaded"` then needs no model. Rewards alone choose by learnability.
    """
    form = await read_form(request, SIGNALS)
    try:
        upload = check_form(form, SIGNALS)
        return await run_in_threadpool(_answer, store, once, dataset_id, upload)
    finally:
        await form.close()


@router.get("/{dataset_id}/signals")
def get_signals(store: StoreOf, dataset_id: DatasetId) -> Signals:
    """Return the signals that were last uploaded for a dataset."""
    dataset_or_404(store, dataset_id)
    signals = store.signals.get(dataset_id)
    if signals is None:
        raise ProblemError(404, "no_signals", f"no signals were uploaded for {dataset_id}")
    return signals


@router.delete("/{dataset_id}/signals", status_code=204, responses=problems(404, 409))
def delete_signals(store: StoreOf, dataset_id: DatasetId) -> None:
    """Delete the signals of a dataset; refused while a selection by them runs. Finished ones keep their results.

    Deleting what is not there is fine.
    """
    dataset = dataset_or_404(store, dataset_id)
    with content_lock(store, dataset.content_hash):
        for job in store.jobs.active():
            if job.kind == "selection" and job.fields.get("dataset_id") == dataset_id:
                request = SelectionCreate.model_validate_json(job.fields["request"])
                if request.signals is not None:
                    detail = f"{job.id} still selects by them; cancel it or wait for its end"
                    raise ProblemError(409, "signals_in_use", detail)
        if (signals := store.signals.get(dataset_id)) is not None:
            discard_signals(store, dataset_id, signals.content_hash)
            store.signals.delete(dataset_id)


def _answer(store: Store, once: OnceOf, dataset_id: str, upload: Upload) -> Response:
    with scratch() as folder:
        paths, fingerprint = copy_files(upload, folder)

        def answer() -> Response:
            dataset = dataset_or_404(store, dataset_id)
            signals = _keep(store, dataset, _check(store, dataset, upload, paths, folder / "checked"))
            return Response(signals.model_dump_json(), 201, media_type="application/json")

        return once(fingerprint, answer)


def _check(store: Store, dataset: Dataset, upload: Upload, paths: dict[str, Path], out: Path) -> StoredSignals:
    names = {part: upload.title(part) for part in paths}
    try:
        samples = samples_path(store, dataset.content_hash)
        return run_apart(paths.values(), _read, SignalFiles(paths, names), samples, out)
    except DatasetError as error:
        raise ProblemError(422, "invalid_signals", str(error), errors=error.errors, total_errors=error.total) from error


def _read(files: SignalFiles, samples: Path, out: Path) -> StoredSignals:
    return read_signals(files, sample_ids(samples), out)


def _keep(store: Store, dataset: Dataset, found: StoredSignals) -> Signals:
    """Store the blob first and the record last: signals are there once all of them are."""
    digest = hashlib.sha256(dataset.content_hash.encode())
    with found.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    content = digest.hexdigest()
    signals = Signals(
        dataset_id=dataset.id,
        created_at=time.time(),
        content_hash=content,
        dataset_content_hash=dataset.content_hash,
        n_samples=found.n_samples,
        rollouts=found.rollouts,
        has_hits=found.has_hits,
        vector_size=found.vector_size,
        embedding_size=found.embedding_size,
    )
    with content_lock(store, dataset.content_hash):
        dataset_or_404(store, dataset.id)  # It may have been deleted since.
        before = store.signals.get(dataset.id)
        until_kept(lambda: keep_signals(store, dataset.id, content))
        store.blobs.put_file(signals_blob(content), found.path)
        store.signals.put(signals)
        if before is not None and before.content_hash != content:
            drop_signals(store, dataset.id, before.content_hash)  # Selections by them keep them for themselves.
    return signals
