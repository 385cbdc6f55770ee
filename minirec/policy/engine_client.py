"""Requests to an OpenAI-compatible inference server: bounded concurrency, back-pressure, retries, typed errors."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2

from minirec.policy.errors import EngineUnreachable, ModelRefused

CONCURRENCY = 64
"""Requests under way at once, of one worker: the server batches them as it has room."""
PATIENCE = 120.0
"""Seconds for which a request is sent again while the server is away or busy; then the unit's attempt fails."""
LONGEST_PAUSE = 15.0
"""Seconds between two tries at most, also where the server asks for more."""
_TIMEOUT = httpx2.Timeout(600.0, connect=10.0, pool=None)


class EngineClient:
    """A connection pool to one server. Close it when the unit ends: what is under way is then given up."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        self._closed = threading.Event()
        limits = httpx2.Limits(max_connections=CONCURRENCY)
        # No redirects and no proxies from the environment: requests go where the operator allowed, and nowhere else.
        self._http = httpx2.Client(timeout=_TIMEOUT, limits=limits, follow_redirects=False, trust_env=False)
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="engine")

    def submit(self, path: str, body: Mapping[str, Any]) -> Future[Any]:
        """Send a request as soon as there is room, as `call` does, and return its answer to come."""
        return self._threads.submit(self.call, "POST", path, body)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the server answers with.

        Raises:
            EngineUnreachable: It was away, busy or broken for as long as there is patience.
            ModelRefused: `engine_refused` where it answers with another error, or not in JSON.
        """
        response = self._send(method, path, body)
        if response.is_success:
            try:
                return response.json() if response.content.startswith((b"{", b"[")) else response.text
            except ValueError as error:
                raise refused(f"{self.url}{path} did not answer in JSON: {error}") from error
        if response.is_redirect:
            raise refused(f"{self.url}{path} redirects to another address, which is not followed. Name that address")
        raise refused(f"{self.url}{path} answered {response.status_code}: {response.text[:400]}", response.status_code)

    def close(self) -> None:
        """Give up what is under way."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx2.Response:
        end, attempt = time.monotonic() + self._patience, 0
        while True:
            try:
                response = self._http.request(method, self.url + path, json=body)
                reason = f"it answers {response.status_code}"
                if response.status_code not in (408, 425, 429) and response.status_code < 500:
                    return response
                asked = _retry_after(response)
            except (httpx2.TransportError, RuntimeError) as error:  # RuntimeError: the client was closed
                reason, asked = f"{type(error).__name__}: {error}", 0.0
            # Exponential, and random over its whole range: workers that lost the server come back one by one.
            pause = min(LONGEST_PAUSE, max(asked, random.uniform(0.05, 0.25 * 2**attempt)))
            attempt = min(attempt + 1, 8)
            if time.monotonic() + pause > end or self._closed.wait(pause):
                raise EngineUnreachable(
                    f"the engine at {self.url} could not be used for {self._patience:.0f} seconds: {reason}. "
                    "Start it, or give it room; the work is tried again."
                )


def refused(reason: str, status: int | None = None) -> ModelRefused:
    """Return the error for a server that cannot do what is asked, with the HTTP status where that says so."""
    error = ModelRefused("engine_refused", f"rollouts.engine: {reason}.")
    error.status = status
    return error


def _retry_after(response: httpx2.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0  # a date: the pause is our own
