"""Request bodies that are read from disk while they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx2

from minirec.client.threads import in_thread


class Body(httpx2.SyncByteStream):
    """A body that calls `on_chunk` after each part that was sent."""

    def __init__(self, chunks: Iterable[bytes], on_chunk: Callable[[], None]) -> None:
        self._chunks = chunks
        self._on_chunk = on_chunk

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self._on_chunk()


class AsyncBody(httpx2.AsyncByteStream):
    """The same for an event loop: chunks are read in a worker thread, `on_chunk` is called in the loop."""

    def __init__(self, chunks: Iterable[bytes], on_chunk: Callable[[], None]) -> None:
        self._chunks = chunks
        self._on_chunk = on_chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = iter(self._chunks)
        while (chunk := await in_thread(next, chunks, None)) is not None:
            yield chunk
            self._on_chunk()
