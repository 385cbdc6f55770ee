"""`client.datasets`: pools of samples with their catalogues, and of prompts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping

from minirec.api_schemas import Dataset, DatasetDeleted, Page, Signals, TimestampUnit
from minirec.api_schemas.uploads import Upload, UploadPart
from minirec.client._async.pages import AsyncPages
from minirec.client._async.resource import AsyncResource
from minirec.client.core import Call
from minirec.client.errors import not_ready
from minirec.client.parts import Array, Ids, Rows
from minirec.client.refs import DatasetRef, dataset_of, id_of
from minirec.client.threads import in_thread
from minirec.client.uploads import (
    IN_PARTS_BYTES,
    UPLOAD_SECONDS,
    OnProgress,
    dataset_upload,
    signals_upload,
)
from minirec.client.uploads import Upload as DatasetUpload
from minirec.client.warnings import warn_of

WAIT_SECONDS = 30.0
ANSWER_SECONDS = 30.0
PART_RETRIES = 8
"""Attempts to send a piece again: about a minute of a broken connection."""


class AsyncDatasets(AsyncResource):
    """Upload, look up and delete datasets."""

    async def upload(
        self,
        samples: Rows | None = None,
        items: Rows | None = None,
        *,
        prompts: Rows | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        timestamp_unit: TimestampUnit | None = None,
        on_progress: OnProgress | None = None,
        on_check: Callable[[Dataset], object] | None = None,
        wait: bool = True,
    ) -> Dataset:
        """Upload a dataset; it is checked row by row and stored whole, or not at all.

        Files of more than 4 MiB are checked by a worker, which is waited for; a script that ends meanwhile can wait
        again (`wait`).

        Other files that people have (RecBole, Amazon, MovieLens, ...) become such files by `minirec import`. What looks
        odd is in `warnings` of the dataset, and a `DatasetWarning`.

        Args:
            samples: Histories and targets, with `items`; a path or address (JSONL, JSONL.gz, Parquet), an open file, a
                table (pandas, polars, pyarrow, `datasets.Dataset`, a dictionary of columns), or an iterable of rows.
            items: The catalogue, in the same ways.
            prompts: Prompts in place of both, in the same ways.
            name: A name for people.
            metadata: Kept with it.
            timestamp_unit: Unit of the samples' times, if it is not seconds; datetimes need none.
            on_progress: Called with the bytes sent so far and the bytes in all.
            on_check: Called with the dataset whenever its checking has got on.
            wait: False returns as soon as the files are sent; the dataset may be `processing` then.

        Raises:
            UnprocessableError: Its `errors` name file, line and field.
        """
        parts = {"samples": samples, "items": items, "prompts": prompts}
        upload = await in_thread(dataset_upload, parts, name, metadata, on_progress, timestamp_unit)
        try:
            if upload.size >= IN_PARTS_BYTES:
                dataset = await self._send_parts(upload, on_progress)
            else:
                dataset = await self._transport.get(upload.call, Dataset)
        finally:
            await in_thread(upload.close)
        if wait and dataset.status != "ready":
            dataset = await self.wait(dataset, on_update=on_check)
        return warn_of(dataset)

    async def _send_parts(self, upload: DatasetUpload, on_progress: OnProgress | None) -> Dataset:
        about = {
            "files": {name: file.name[:255] for name, file in upload.parts.items()},
            **(upload.call.data or {}),
            "metadata": json.loads((upload.call.data or {}).get("metadata", "{}")),
        }
        begun = await self._transport.get(Call("POST", "/v1/uploads", json=about), Upload)
        pieces, sent, numbers = upload.chunks(), 0, dict.fromkeys(upload.parts, 0)
        while (piece := await in_thread(next, pieces, None)) is not None:
            name, number, content = piece
            digest = hashlib.sha256(content).hexdigest()
            path = f"/v1/uploads/{begun.id}/{name}/{number}"
            call = Call("PUT", path, params={"sha256": digest}, content=content, read_timeout=UPLOAD_SECONDS)
            await self._transport.get(call, UploadPart, retries=PART_RETRIES)
            sent, numbers[name] = sent + len(content), number + 1
            if on_progress is not None:
                on_progress(sent, upload.size)
        call = Call("POST", f"/v1/uploads/{begun.id}/complete", json={"parts": numbers})
        return await self._transport.get(call, Dataset)

    async def wait(
        self,
        dataset_id: DatasetRef,
        *,
        on_update: Callable[[Dataset], object] | None = None,
        timeout: float | None = None,
    ) -> Dataset:
        """Wait until the files of a dataset are checked, and return it.

        Args:
            dataset_id: The dataset, or its id.
            on_update: Called with the dataset whenever its checking has got on.
            timeout: Seconds to wait at most.

        Raises:
            UnprocessableError: The files are faulty; `errors` name file, line and field.
            ConflictError: The checking was cancelled, or failed for another reason.
            TimeoutError: It is still `processing`.
        """
        path = f"/v1/datasets/{id_of(dataset_id, 'dataset')}"
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0.0, deadline - time.monotonic()))
            call = Call("GET", path, params={"wait": left}, read_timeout=left + ANSWER_SECONDS)
            dataset = await self._transport.get(call, Dataset)
            if on_update is not None:
                on_update(dataset)
            if dataset.status == "ready":
                return dataset
            if dataset.status != "processing":
                raise not_ready(dataset)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{dataset.id} is still being checked after {timeout:g} s; wait for it again")

    async def cancel(self, dataset_id: DatasetRef) -> Dataset:
        """Stop the checking of a dataset's files. Raises `ConflictError` when it is over."""
        path = f"/v1/datasets/{id_of(dataset_id, 'dataset')}/cancel"
        return await self._transport.get(Call("POST", path), Dataset)

    async def retry(self, dataset_id: DatasetRef) -> Dataset:
        """Check a dataset's files again, after `cancel` or a failure that was none of theirs."""
        path = f"/v1/datasets/{id_of(dataset_id, 'dataset')}/retry"
        return await self._transport.get(Call("POST", path), Dataset)

    async def upload_signals(
        self,
        dataset_id: DatasetRef,
        *,
        rewards: Rows,
        vectors: Array | None = None,
        embeddings: Array | None = None,
        ids: Ids | None = None,
        on_progress: OnProgress | None = None,
    ) -> Signals:
        """Upload rewards that were measured elsewhere: a selection with `signals="uploaded"` then needs no model.

        Args:
            dataset_id: The dataset, or its id.
            rewards: A path (JSONL, JSONL.gz, Parquet), a table, or rows `{"sample_id", "reward": [...]}`,
                with `hit` or `ndcg` per rollout if known.
            vectors: npy or safetensors file, or an array, with a row per id of `ids`, or else per row of `rewards`.
            embeddings: Another such.
            ids: The samples' ids, or a text file with one per line.
            on_progress: Called with the bytes sent so far and the bytes in all.

        Raises:
            UnprocessableError: Its `errors` name file and line.
        """
        parts = {"rewards": rewards, "vectors": vectors, "embeddings": embeddings, "ids": ids}
        upload = await in_thread(signals_upload, id_of(dataset_id, "dataset"), parts, on_progress)
        try:
            return await self._transport.get(upload.call, Signals)
        finally:
            await in_thread(upload.close)

    async def retrieve(self, dataset_id: DatasetRef) -> Dataset:
        """Return one dataset."""
        return await self._transport.get(Call("GET", f"/v1/datasets/{id_of(dataset_id, 'dataset')}"), Dataset)

    def list(
        self,
        *,
        name: str | None = None,
        content_hash: str | None = None,
        after: DatasetRef | None = None,
        limit: int | None = None,
    ) -> AsyncPages[Dataset]:
        """Return all datasets, newest first: iterate over them, or over `pages()`.

        Args:
            name: Only datasets of exactly this name.
            content_hash: Only datasets with the rows that have it, whatever their names.
            after: The dataset, or its id, that the list begins behind.
            limit: The most that come.
        """
        params = {"after": dataset_of(after), "name": name, "content_hash": content_hash}
        call = Call("GET", "/v1/datasets", params=params)
        return AsyncPages(self._transport, call, Page[Dataset], limit=limit)

    async def delete(self, dataset_id: DatasetRef) -> DatasetDeleted:
        """Delete a dataset; raises `ConflictError` while a selection runs on it."""
        return await self._transport.get(Call("DELETE", f"/v1/datasets/{id_of(dataset_id, 'dataset')}"), DatasetDeleted)
