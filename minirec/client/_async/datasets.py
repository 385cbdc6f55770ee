"""`client.datasets`: pools of samples with their catalogues, and of prompts."""

from __future__ import annotations

from collections.abc import Mapping

from api_schemas import Dataset, DatasetDeleted, Page, Signals, TimestampUnit
from minirec.client._async.pages import AsyncPages
from minirec.client._async.resource import AsyncResource
from minirec.client.core import Call
from minirec.client.parts import Array, Ids, Rows
from minirec.client.refs import DatasetRef, dataset_of, id_of
from minirec.client.threads import in_thread
from minirec.client.uploads import OnProgress, dataset_upload, signals_upload
from minirec.client.warnings import warn_of


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
    ) -> Dataset:
        """Upload a dataset; it is checked row by row and stored whole, or not at all.

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

        Raises:
            UnprocessableError: Its `errors` name file, line and field.
        """
        parts = {"samples": samples, "items": items, "prompts": prompts}
        upload = await in_thread(dataset_upload, parts, name, metadata, on_progress, timestamp_unit)
        try:
            return warn_of(await self._transport.get(upload.call, Dataset))
        finally:
            await in_thread(upload.close)

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

    def list(self, *, after: DatasetRef | None = None, limit: int | None = None) -> AsyncPages[Dataset]:
        """Return all datasets, newest first: iterate over them, or over `pages()`.

        `after` begins behind a dataset, `limit` is the most that come.
        """
        call = Call("GET", "/v1/datasets", params={"after": dataset_of(after)})
        return AsyncPages(self._transport, call, Page[Dataset], limit=limit)

    async def delete(self, dataset_id: DatasetRef) -> DatasetDeleted:
        """Delete a dataset; raises `ConflictError` while a selection runs on it."""
        return await self._transport.get(Call("DELETE", f"/v1/datasets/{id_of(dataset_id, 'dataset')}"), DatasetDeleted)
