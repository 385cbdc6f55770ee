"""What the sync and the async client share: calls, retries, and reading answers."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from minirec import __version__
from minirec.client.bodies import AsyncBody, Body
from minirec.client.errors import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    status_error,
)

M = TypeVar("M", bound=BaseModel)

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
DEFAULT_RETRIES = 2
STREAM_RETRIES = 10
"""Reconnections in a row to a stream of events that brought nothing: about a minute of the service being away."""
FIRST_DELAY, LONGEST_DELAY, LONGEST_RETRY_AFTER = 0.5, 8.0, 120.0
"""Seconds."""
PAGE = 100
"""Rows asked for at once by iterators over pages."""
SPOOL_BYTES = 16 * 1024**2
"""Size up to which what passes through is kept in memory, not in a temporary file."""

PASSING = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
"""Transport errors that may be gone at the next attempt."""


@dataclass(frozen=True)
class Call:
    """One logical call, however many attempts it takes."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    data: Mapping[str, str] | None = None
    files: Mapping[str, Any] | None = None
    read_timeout: float | None = None
    """Seconds to wait for the answer where that is longer than the client's own."""
    on_chunk: Callable[[], None] | None = None
    """Called after each part of `files` that was sent."""


@dataclass(frozen=True)
class Config:
    """How a client reaches its service."""

    base_url: str
    api_key: str | None
    timeout: httpx2.Timeout
    max_retries: int

    @classmethod
    def create(
        cls, *, base_url: str | None, api_key: str | None, timeout: float | httpx2.Timeout, max_retries: int
    ) -> Config:
        """The arguments, else `MINIREC_BASE_URL` and `MINIREC_API_KEY`, else the defaults."""
        url = base_url or os.environ.get("MINIREC_BASE_URL") or DEFAULT_BASE_URL
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {url!r}; give the service's address, e.g. {DEFAULT_BASE_URL}")
        return cls(
            base_url=url.rstrip("/"),
            api_key=api_key or os.environ.get("MINIREC_API_KEY") or None,
            timeout=timeout_of(timeout),
            max_retries=max_retries,
        )

    def changed(self, *, timeout: float | httpx2.Timeout | None, max_retries: int | None) -> Config:
        """The same with what is not null replaced."""
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout_of(timeout),
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    def headers(self, call: Call) -> dict[str, str]:
        """The headers that all attempts of a call share, one idempotency key among them."""
        headers = {"Accept": "application/json", "User-Agent": f"minirec-python/{__version__}"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if call.method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        return headers | dict(call.headers)

    def request(
        self, http: httpx2.Client | httpx2.AsyncClient, call: Call, headers: Mapping[str, str]
    ) -> httpx2.Request:
        """Build one attempt's request. Files are read from their start, so it can be built again."""
        timeout = self.timeout.as_dict()
        if call.read_timeout is not None and timeout["read"] is not None:
            timeout["read"] = max(call.read_timeout, timeout["read"])
        request = http.build_request(
            call.method,
            self.base_url + call.path,
            params={name: value for name, value in call.params.items() if value is not None},
            headers=headers,
            json=call.json,
            data=call.data,
            files=call.files,
            timeout=httpx2.Timeout(**timeout),
        )
        if call.on_chunk is not None:
            assert isinstance(request.stream, Iterable), "a form with files is read in a thread, by both clients"
            kind = AsyncBody if isinstance(http, httpx2.AsyncClient) else Body
            request.stream = kind(request.stream, call.on_chunk)
        return request


def timeout_of(seconds: float | httpx2.Timeout) -> httpx2.Timeout:
    """A timeout per attempt; connecting never takes longer than five seconds of it."""
    return seconds if isinstance(seconds, httpx2.Timeout) else httpx2.Timeout(seconds, connect=min(seconds, 5.0))


class Retries:
    """Decides after each attempt of one call: how long to wait before the next, or which error to raise."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.failures = 0

    def after_error(self, error: httpx2.TransportError) -> float:
        """Seconds to wait after an attempt without an answer; raises `APIConnectionError` when it was the last."""
        if isinstance(error, PASSING) and self.failures < self.limit:
            return self._backoff()
        raise connection_error(error) from error

    def after_answer(self, response: httpx2.Response) -> float:
        """Seconds to wait after an error answer; raises its `APIStatusError` where another attempt is of no use."""
        if not retryable(response.status_code) or self.failures >= self.limit:
            raise status_error(response)
        return max(self._backoff(), retry_after(response) or 0.0)

    def _backoff(self) -> float:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0**self.failures)
        self.failures += 1
        return longest * random.uniform(0.75, 1.0)


def retryable(status: int) -> bool:
    """Whether the same request may succeed a little later. 409 is the caller's to resolve."""
    return status in (408, 429) or status >= 500


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the service asks to wait: at most two minutes, null when it does not say."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def connection_error(error: httpx2.TransportError) -> APIConnectionError:
    """The SDK's error for a transport's, saying which address did not answer."""
    url = error.request.url
    if isinstance(error, httpx2.TimeoutException):
        return APITimeoutError(f"{url} did not answer in time ({type(error).__name__})")
    return APIConnectionError(
        f"{url} cannot be reached ({error or type(error).__name__}). Is the service running? "
        "`minirec up` starts one; MINIREC_BASE_URL or base_url= names another."
    )


def parse(response: httpx2.Response, model: type[M]) -> M:
    """The answer as `model`."""
    return parse_text(response, response.content, model)


def parse_text(response: httpx2.Response, text: str | bytes, model: type[M]) -> M:
    """Part of an answer (a line, an event) as `model`."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise APIResponseError(response, f"{model.__name__} {place}: {first['msg']}") from error
