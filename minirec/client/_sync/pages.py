# Generated from ../_async by scripts/unasync.py. Do not edit.
"""Lists: iteration goes over all pages of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from pydantic import BaseModel

from minirec.api_schemas import Page
from minirec.client._sync.transport import Transport
from minirec.client.core import PAGE, Call

RowT = TypeVar("RowT", bound=BaseModel)


class Pages(Generic[RowT]):
    """A list that the service hands out in pages: iterate over its rows, or over `pages()`.

    Nothing is asked before a row is. Each iteration starts at the beginning again.
    """

    def __init__(
        self,
        transport: Transport,
        call: Call,
        page: type[Page[RowT]],
        *,
        limit: int | None = None,
        size: int = PAGE,
        prepare: Callable[[RowT], RowT] | None = None,
    ) -> None:
        """Describe a list.

        Args:
            transport: Sends the calls.
            call: Asks for the first page.
            page: What the answers are.
            limit: Most rows in all.
            size: Rows asked for at once.
            prepare: Applied to each row.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit={limit} is below 0")
        self._transport = transport
        self._call = call
        self._page = page
        self._limit = limit
        self._size = size
        self._prepare = prepare

    def pages(self) -> Iterator[Page[RowT]]:
        """Yield the pages as the service sends them."""
        left, after = self._limit, self._call.params.get("after")
        while left != 0:
            size = self._size if left is None else min(self._size, left)
            call = replace(self._call, params={**self._call.params, "limit": size, "after": after})
            page = self._transport.get(call, self._page)
            if self._prepare is not None:
                page.data = [self._prepare(row) for row in page.data]
            if left is not None:
                page.data = page.data[:left]
                left -= len(page.data)
            yield page
            after = page.next_after
            if not page.has_more:
                return

    def __iter__(self) -> Iterator[RowT]:
        for page in self.pages():
            yield from page.data

    def __repr__(self) -> str:
        return f"<{self._call.path}: iterate over its rows, or over .pages()>"
