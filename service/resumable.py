"""Routes of uploads in parts, which are stored as they come and can be sent again one by one."""

from __future__ import annotations

import hashlib
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.openapi.models import Example
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from minirec.api_schemas import Dataset
from minirec.api_schemas.jobs import id_pattern
from minirec.api_schemas.uploads import FileName, Upload, UploadComplete, UploadCreate, UploadPart
from minirec.service import processing
from minirec.service.datasets import answered
from minirec.service.dependencies import EXAMPLE_ID, SettingsOf, StoreOf
from minirec.service.idempotency import OnceOf
from minirec.service.problems import ProblemError, invalid, problems
from minirec.service.uploads import DATASET, scratch
from minirec.specs import IngestSpec, UploadedFile
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.uploads import folder_of, part_blob

PART_BYTES = 64 << 20
"""Of one part at most."""
MOST_PARTS = 10_000

UploadId = Annotated[str, Path(pattern=id_pattern("upl"), description="The upload", examples=[f"upl_{EXAMPLE_ID}"])]
Number = Annotated[int, Path(ge=0, lt=MOST_PARTS, description="Place of the part in its file, from 0")]
File = Annotated[FileName, Path(description="The file that the part is of")]
Digest = Annotated[
    str | None,
    Query(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the part: one that came damaged is refused"),
]
BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {
            "schema": {"type": "string", "format": "binary", "description": "The bytes of the part"},
            "examples": {
                "line": {
                    "summary": "A part that is one line of JSONL",
                    "value": '{"id": "a", "prompt": "What is 1 + 1?", "answer": "2"}\n',
                }
            },
        }
    },
}
FILES: dict[str, Example] = {
    "interactions": {
        "summary": "Two files",
        "value": {"files": {"samples": "samples.jsonl", "items": "items.jsonl"}, "name": "movies"},
    },
    "prompts": {"summary": "One file of prompts", "value": {"files": {"prompts": "prompts.jsonl.gz"}, "name": "sums"}},
}
PARTS: dict[str, Example] = {
    "interactions": {"summary": "12 parts of samples, one of items", "value": {"parts": {"samples": 12, "items": 1}}},
    "prompts": {"summary": "One part of prompts", "value": {"parts": {"prompts": 1}}},
}
NewUpload = Annotated[UploadCreate, Body(openapi_examples=FILES)]
AllSent = Annotated[UploadComplete, Body(openapi_examples=PARTS)]

router = APIRouter(prefix="/v1/uploads", tags=["datasets"], responses=problems(401, 422, 503))


@router.post("", status_code=201, response_model=Upload, responses=problems(400, 409, 413))
def create_upload(store: StoreOf, body: NewUpload, once: OnceOf) -> Response:
    """Begin an upload in parts, for files that one request is too fragile for.

    Send the parts with PUT, in any order and at the same time; what got lost is sent again, and `GET` says what is
    there. Then `complete` it.
    """
    if missing := [name for name in DATASET.chosen(body.files) if name not in body.files]:
        raise invalid("invalid_request", ("body", "files"), f"lacks {missing[0]}; send {DATASET.wanted}")
    if body.timestamp_unit is not None and "samples" not in body.files:
        raise invalid("invalid_request", ("body", "timestamp_unit"), "is the unit of the samples' times; leave it out")

    def answer() -> Response:
        upload_id = store.uploads.create(body)
        store.machine.keep(f"upload:{upload_id}", [folder_of(upload_id)])
        upload, _ = store.uploads.get(upload_id)
        headers = {"Location": f"/v1/uploads/{upload_id}"}
        return Response(upload.model_dump_json(), 201, headers=headers, media_type="application/json")

    return once(body.model_dump_json(), answer)


@router.get("/{upload_id}", responses=problems(404))
def get_upload(store: StoreOf, upload_id: UploadId) -> Upload:
    """Return an upload with the parts that are stored: whoever was interrupted sends the others."""
    return _get(store, upload_id)[0]


@router.put("/{upload_id}/{file}/{number}", responses=problems(400, 404, 409, 413), openapi_extra={"requestBody": BODY})
async def put_upload_part(
    request: Request,
    store: StoreOf,
    settings: SettingsOf,
    upload_id: UploadId,
    file: File,
    number: Number,
    sha256: Digest = None,
) -> UploadPart:
    """Store a part of a file, up to 64 MiB; the same number again replaces it."""
    await run_in_threadpool(_check_open, store, upload_id, file)
    with scratch() as folder:
        path, digest, size = folder / "part", hashlib.sha256(), 0
        with path.open("wb") as sink:
            async for chunk in request.stream():
                size += len(chunk)
                digest.update(chunk)
                sink.write(chunk)
        part = UploadPart(number=number, size=size, sha256=digest.hexdigest())
        if size == 0:
            raise invalid("invalid_request", ("body",), "is empty; a part has a byte at least")
        if sha256 is not None and sha256 != part.sha256:
            detail = f"{sha256} was announced, and {part.sha256} came: the part was damaged on its way, send it again"
            raise invalid("damaged_part", ("query", "sha256"), detail)
        await run_in_threadpool(_store_part, store, upload_id, file, part, path, settings.max_upload_bytes)
    return part


@router.post(
    "/{upload_id}/complete",
    status_code=202,
    response_model=Dataset,
    responses=problems(400, 404, 409, 413),
    name="complete_upload",
)
def complete_upload(store: StoreOf, upload_id: UploadId, body: AllSent) -> Response:
    """Have a worker check the files that were sent: the answer is their dataset, which is `processing`."""
    upload, request = _get(store, upload_id)
    for file in request.files:
        _check_whole(file, [part.number for part in upload.files[file]], body.parts.get(file))
    if extra := set(body.parts) - set(request.files):
        raise invalid("invalid_request", ("body", "parts"), f"has {min(extra)}, which is not in this upload")
    dataset_id = store.uploads.complete(upload_id)
    try:
        return answered(processing.current(store, dataset_id), 202)
    except ProblemError:
        # The usual case: it was not completed before, or not to the end.
        if f"upload:{upload_id}" not in store.machine.owners_of(folder_of(upload_id)):
            detail = f"{upload_id} became {dataset_id}, which was deleted; upload the files anew"
            raise ProblemError(409, "upload_complete", detail) from None
    files = {
        name: UploadedFile(
            title=request.files[name] or name,
            blobs=tuple(part_blob(upload_id, name, part.number) for part in upload.files[name]),
        )
        for name in request.files
    }
    spec = IngestSpec(
        dataset_id=dataset_id, files=files, timestamp_unit=request.timestamp_unit, folder=folder_of(upload_id)
    )
    record = processing.record(set(request.files), dataset_id, name=request.name, metadata=request.metadata)
    n_bytes = sum(part.size for parts in upload.files.values() for part in parts)
    dataset = processing.begin(store, record, spec, n_bytes=n_bytes)
    # From here on the files are kept by the worker's job.
    store.machine.drop(f"upload:{upload_id}", [folder_of(upload_id)])
    return answered(dataset, 202)


@router.delete("/{upload_id}", status_code=204, responses=problems(404))
def delete_upload(store: StoreOf, upload_id: UploadId) -> None:
    """Give an upload up, with all that was sent. A dataset that it has become stays."""
    _get(store, upload_id)
    remove(store, upload_id)


def remove(store: Store, upload_id: str) -> None:
    """Forget an upload; its files go, unless a worker reads them."""
    store.machine.drop(f"upload:{upload_id}", [folder_of(upload_id)])
    store.uploads.delete(upload_id)


def _get(store: Store, upload_id: str) -> tuple[Upload, UploadCreate]:
    try:
        return store.uploads.get(upload_id)
    except NotFoundError as error:
        raise ProblemError(404, "upload_not_found", f"there is no upload {upload_id}") from error


def _check_open(store: Store, upload_id: str, file: FileName) -> Upload:
    """Return an upload that takes parts of a file. Raises ProblemError."""
    upload, request = _get(store, upload_id)
    if file not in request.files:
        raise invalid("invalid_request", ("path", "file"), f"is {file}; this upload has {', '.join(request.files)}")
    if upload.dataset_id is not None:
        raise ProblemError(409, "upload_complete", f"{upload_id} is complete and became {upload.dataset_id}")
    return upload


def _store_part(store: Store, upload_id: str, file: FileName, part: UploadPart, path: FilePath, most: int) -> None:
    """Store a part. Raises ProblemError where the upload grows too large, or is over."""
    upload = _check_open(store, upload_id, file)
    others = sum(
        each.size
        for name, parts in upload.files.items()
        for each in parts
        if (name, each.number) != (file, part.number)
    )
    if others + part.size > most:
        raise ProblemError(
            413, "payload_too_large", f"the files are larger than the {most} bytes that are accepted here"
        )
    store.blobs.put_file(part_blob(upload_id, file, part.number), path)
    try:
        store.uploads.put_part(upload_id, file, part)
    except NotFoundError as error:
        raise ProblemError(404, "upload_not_found", f"{upload_id} was deleted meanwhile") from error


def _check_whole(file: str, numbers: list[int], announced: int | None) -> None:
    """Raise ProblemError 409 that names the first part that is missing."""
    if announced is None:
        raise invalid("invalid_request", ("body", "parts"), f"lacks {file}: say how many parts it has")
    missing = sorted(set(range(announced)) - set(numbers))
    if missing:
        detail = f"part {missing[0]} of {file} is not there (and {len(missing) - 1} more); send it, and complete then"
        raise ProblemError(409, "upload_incomplete", detail)
    if len(numbers) > announced:
        raise invalid("invalid_request", ("body", "parts", file), f"is {announced}, and {len(numbers)} parts were sent")
