"""The scores of a selection's samples: as rows, page after page, or all at once as a table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import IO, Any

from minirec.api_schemas import Page, SampleScore
from minirec.client._async.files import spool
from minirec.client._async.pages import AsyncPages
from minirec.client._async.transport import AsyncTransport
from minirec.client.core import Call
from minirec.client.selection_calls import SCORES_PAGE
from minirec.client.tables import library, nullable
from minirec.client.threads import in_thread


class AsyncScores(AsyncPages[SampleScore]):
    """What was measured of each sample of a finished selection's pool.

    Iterate over the rows, or take all of them in one request, as a table with the columns of `SampleScore`.
    """

    def __init__(self, transport: AsyncTransport, call: Call, *, limit: int | None = None) -> None:
        super().__init__(transport, call, Page[SampleScore], limit=limit, size=SCORES_PAGE)

    async def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`. Raises ModuleNotFoundError where pyarrow is not installed."""
        parquet = library("pyarrow.parquet")
        async with self._parquet() as file:
            return await in_thread(parquet.read_table, file)

    async def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`; ranks are nullable integers.

        Raises ModuleNotFoundError where pandas or pyarrow is not installed.
        """
        pandas = library("pandas")
        table = await self.to_arrow()
        return await in_thread(table.to_pandas, types_mapper=nullable(pandas))

    async def to_polars(self) -> Any:
        """Return a `polars.DataFrame`. Raises ModuleNotFoundError where polars is not installed."""
        polars = library("polars")
        async with self._parquet() as file:
            return await in_thread(polars.read_parquet, file)

    @asynccontextmanager
    async def _parquet(self) -> AsyncIterator[IO[bytes]]:
        """Open the rows as one Parquet file."""
        params = {**self._call.params, "limit": self._limit}
        call = replace(self._call, path=f"{self._call.path}.parquet", params=params, headers={"Accept": "*/*"})
        async with spool() as file:
            await self._transport.copy(call, file)
            await in_thread(file.seek, 0)
            yield file
