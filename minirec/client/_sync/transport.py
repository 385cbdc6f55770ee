# Generated from ../_async by scripts/unasync.py. Do not edit.
"""Sending calls, with retries, and streaming answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import httpx2

from minirec.client.core import Call, Config, M, Retries, parse
from minirec.client.errors import NotFoundError

CHUNK_BYTES = 256 * 1024
"""Bytes of a download that are written at once."""


@dataclass(frozen=True)
class Transport:
    """Sends calls and waits between attempts."""

    config: Config
    http: httpx2.Client
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    answers: deque[httpx2.Response] | None = None
    """Where given, answers are put here."""

    def get(self, call: Call, model: type[M], retries: int | None = None) -> M:
        """Return the answer to a call as `model`; `retries` replaces the client's own limit."""
        response = self._send(call, self.config.retries(call, retries))
        return parse(response, model)

    def delete(self, call: Call) -> None:
        """Send a deletion. What is gone after an attempt without an answer was deleted by that attempt."""
        retries = self.config.retries(call)
        try:
            self._send(call, retries)
        except NotFoundError:
            if not retries.failures:
                raise

    @contextmanager
    def stream(self, call: Call, retries: Retries | None = None) -> Iterator[httpx2.Response]:
        """Open an answer whose body has not been read yet."""
        response = self._send(call, retries or self.config.retries(call), stream=True)
        try:
            yield response
        finally:
            response.close()

    def copy(self, call: Call, file: IO[bytes]) -> httpx2.Response:
        """Write an answer's body to `file`, from its start again where the connection breaks; return the answer."""
        retries = self.config.retries(call)
        while True:
            try:
                with self.stream(call, retries) as response:
                    file.seek(0)
                    file.truncate()
                    for chunk in response.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
                    return response
            except httpx2.TransportError as error:
                pause = retries.after_error(error)
            self.sleep(pause)

    def _send(self, call: Call, retries: Retries, *, stream: bool = False) -> httpx2.Response:
        headers = self.config.headers(call)
        while True:
            try:
                response = self.http.send(self.config.request(self.http, call, headers), stream=stream)
                if response.is_success:
                    if self.answers is not None:
                        self.answers.append(response)
                    return response
                response.read()
                pause = retries.after_answer(response)
            except httpx2.TransportError as error:
                pause = retries.after_error(error)
            self.sleep(pause)
