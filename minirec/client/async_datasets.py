"""`client.datasets`: pools of samples with their catalogues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from api_schemas import Dataset, DatasetDeleted, Page
from minirec.client.async_transport import AsyncTransport
from minirec.client.core import PAGE, Call
from minirec.client.uploads import OnProgress, Rows, dataset_upload


class AsyncDatasets:
    """Upload, look up and delete datasets."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        *,
        samples: Rows,
        items: Rows,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Dataset:
        """Upload a dataset; it is checked row by row and stored whole, or not at all.

        `samples` and `items` are paths (JSONL, JSONL.gz, Parquet) or iterables of rows. `on_progress(sent, total)`
        counts bytes. Raises `UnprocessableError` whose `errors` name file, line and field.
        """
        with dataset_upload(samples, items, name, metadata, on_progress) as call:
            return await self._transport.get(call, Dataset)

    async def retrieve(self, dataset_id: str) -> Dataset:
        """One dataset."""
        return await self._transport.get(Call("GET", f"/v1/datasets/{dataset_id}"), Dataset)

    async def list(self, *, after: str | None = None) -> AsyncIterator[Dataset]:
        """All datasets, newest first; pages are fetched as the iteration reaches them."""
        while True:
            call = Call("GET", "/v1/datasets", params={"limit": PAGE, "after": after})
            page = await self._transport.get(call, Page[Dataset])
            for row in page.data:
                yield row
            after = page.next_after
            if not page.has_more:
                return

    async def delete(self, dataset_id: str) -> DatasetDeleted:
        """Delete a dataset; raises `ConflictError` while a selection runs on it."""
        return await self._transport.get(Call("DELETE", f"/v1/datasets/{dataset_id}"), DatasetDeleted)
