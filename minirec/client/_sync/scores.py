# Generated from ../_async by scripts/unasync.py. Do not edit.
"""The scores of a selection's samples: as rows, page after page, or all at once as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any

from minirec.api_schemas import Page, SampleScore
from minirec.client._sync.files import spool
from minirec.client._sync.pages import Pages
from minirec.client._sync.transport import Transport
from minirec.client.core import Call
from minirec.client.selection_calls import SCORES_PAGE
from minirec.client.tables import library, nullable


class Scores(Pages[SampleScore]):
    """What was measured of each sample of a finished selection's pool.

    Iterate over the rows, or take all of them in one request, as a table with the columns of `SampleScore`.
    """

    def __init__(self, transport: Transport, call: Call, *, limit: int | None = None) -> None:
        super().__init__(transport, call, Page[SampleScore], limit=limit, size=SCORES_PAGE)

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`. Raises ModuleNotFoundError where pyarrow is not installed."""
        parquet = library("pyarrow.parquet")
        with self._parquet() as file:
            return parquet.read_table(file)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`; ranks are nullable integers.

        Raises ModuleNotFoundError where pandas or pyarrow is not installed.
        """
        pandas = library("pandas")
        table = self.to_arrow()
        return table.to_pandas(types_mapper=nullable(pandas))

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame`. Raises ModuleNotFoundError where polars is not installed."""
        polars = library("polars")
        with self._parquet() as file:
            return polars.read_parquet(file)

    @contextmanager
    def _parquet(self) -> Iterator[IO[bytes]]:
        """Open the rows as one Parquet file."""
        params = {**self._call.params, "limit": self._limit}
        call = replace(self._call, path=f"{self._call.path}.parquet", params=params, headers={"Accept": "*/*"})
        with spool() as file:
            self._transport.copy(call, file)
            file.seek(0)
            yield file
