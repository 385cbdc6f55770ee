"""Sending calls, with retries, and streaming answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

import anyio
import httpx2

from minirec.client.core import Call, Config, M, Retries, parse
from minirec.client.errors import NotFoundError
from minirec.client.threads import in_thread

CHUNK_BYTES = 256 * 1024
"""Bytes of a download that are written at once."""


@dataclass(frozen=True)
class AsyncTransport:
    """Sends calls and waits between attempts."""

    config: Config
    http: httpx2.AsyncClient
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = time.monotonic
    answers: deque[httpx2.Response] | None = None
    """Where given, answers are put here."""

    async def get(self, call: Call, model: type[M], retries: int | None = None) -> M:
        """Return the answer to a call as `model`; `retries` replaces the client's own limit."""
        response = await self._send(call, self.config.retries(call, retries))
        return parse(response, model)

    async def delete(self, call: Call) -> None:
        """Send a deletion. What is gone after an attempt without an answer was deleted by that attempt."""
        retries = self.config.retries(call)
        try:
            await self._send(call, retries)
        except NotFoundError:
            if not retries.failures:
                raise

    @asynccontextmanager
    async def stream(self, call: Call, retries: Retries | None = None) -> AsyncIterator[httpx2.Response]:
        """Open an answer whose body has not been read yet."""
        response = await self._send(call, retries or self.config.retries(call), stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def copy(self, call: Call, file: IO[bytes]) -> httpx2.Response:
        """Write an answer's body to `file`, from its start again where the connection breaks; return the answer."""
        retries = self.config.retries(call)
        while True:
            try:
                async with self.stream(call, retries) as response:
                    await in_thread(file.seek, 0)
                    await in_thread(file.truncate)
                    async for chunk in response.aiter_bytes(CHUNK_BYTES):
                        await in_thread(file.write, chunk)
                    return response
            except httpx2.TransportError as error:
                pause = retries.after_error(error)
            await self.sleep(pause)

    async def _send(self, call: Call, retries: Retries, *, stream: bool = False) -> httpx2.Response:
        headers = self.config.headers(call)
        while True:
            try:
                response = await self.http.send(self.config.request(self.http, call, headers), stream=stream)
                if response.is_success:
                    if self.answers is not None:
                        self.answers.append(response)
                    return response
                await response.aread()
                pause = retries.after_answer(response)
            except httpx2.TransportError as error:
                pause = retries.after_error(error)
            await self.sleep(pause)
