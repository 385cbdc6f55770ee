"""What the sync and the async client share: calls, retries, and reading answers."""

from __future__ import annotations

import os
import random
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from minirec import __version__
from minirec.api_schemas.messages import explained
from minirec.client.bodies import AsyncBody, Body
from minirec.client.endpoint import checked_base_url, checked_key, connection_error
from minirec.client.errors import APIResponseError, ConfigurationError, status_error
from minirec.client.local import chosen_stack, none_runs

M = TypeVar("M", bound=BaseModel)

DEFAULT_SECONDS = 60.0
DEFAULT_TIMEOUT = httpx2.Timeout(DEFAULT_SECONDS, connect=5.0)
DEFAULT_RETRIES = 2
STREAM_RETRIES = 10
"""Reconnections in a row to a stream of events that brought nothing: about a minute of the service being away."""
FIRST_DELAY, LONGEST_DELAY, LONGEST_RETRY_AFTER = 0.5, 8.0, 120.0
"""Seconds."""
PAGE = 100
"""Rows asked for at once by iterators over pages."""
SPOOL_BYTES = 16 * 1024**2
"""Size up to which what passes through is kept in memory, not in a temporary file."""

BUSY = ("idempotency_in_progress", "dataset_busy")
"""Codes of answers that pass by themselves: an earlier attempt, or another client, is at work on the same thing."""
PASSING = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
"""Transport errors that may be gone at the next attempt."""


_PART = re.compile(r"[A-Za-z0-9_.\-]+")
"""Of a path: what ids, names of files and verbs consist of."""


@dataclass(frozen=True)
class Call:
    """One logical call, however many attempts it takes."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    """A body as it is."""
    data: Mapping[str, str] | None = None
    files: Mapping[str, Any] | None = None
    read_timeout: float | None = None
    """Seconds to wait for the answer where that is longer than the client's own."""
    on_chunk: Callable[[], None] | None = None
    """Called after each part of `files` that was sent."""
    name: str | None = None
    """Last part of the path where that is a client's own text, such as a sample's id: sent so that it is one part."""

    def __post_init__(self) -> None:
        # A path is made with ids, and one like `../datasets/ds_1` would reach, or delete, something else.
        parts = self.path.split("/")[1:]
        if any(part in ("", ".", "..") or not _PART.fullmatch(part) for part in parts):
            raise ConfigurationError(
                f"{self.path!r} is no path of the service, and nothing was sent: an id is empty, or has characters "
                "that ids do not have. Give it as the service returned it, such as sel_..., ds_... or trn_..."
            )
        if self.name in ("", ".", ".."):
            raise ConfigurationError(f"{self.name!r} cannot be the last part of a path; nothing was sent")

    @property
    def target(self) -> str:
        """The path as it is sent."""
        return quote(self.path) + ("" if self.name is None else f"/{quote(self.name, safe='')}")


@dataclass(frozen=True)
class Config:
    """How a client reaches its service."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeout: httpx2.Timeout
    max_retries: int

    @classmethod
    def create(
        cls, *, base_url: str | None, api_key: str | None, timeout: float | httpx2.Timeout, max_retries: int
    ) -> Config:
        """Take the arguments, else `MINIREC_BASE_URL` and `MINIREC_API_KEY`, else the stack that runs here.

        Raise ConfigurationError.
        """
        address = base_url or os.environ.get("MINIREC_BASE_URL")
        key = checked_key(api_key or os.environ.get("MINIREC_API_KEY"))
        url = checked_base_url(address) if address else None
        stack = None if url and key else chosen_stack(url)
        if url is None:
            if stack is None:
                raise ConfigurationError(none_runs())
            url = checked_base_url(stack.url)
        if key is None and stack is not None:
            key = checked_key(stack.api_key)
        return cls(
            base_url=url,
            api_key=key,
            timeout=timeout_of(timeout),
            max_retries=max_retries,
        )

    def changed(self, *, timeout: float | httpx2.Timeout | None, max_retries: int | None) -> Config:
        """Return the same with what is not null replaced."""
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout_of(timeout),
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    def retries(self, call: Call, limit: int | None = None) -> Retries:
        """Return how often a call is sent again; `limit` replaces the client's own.

        An answer in the making is waited for as long as the answer itself would be.
        """
        patience = max(call.read_timeout or 0.0, self.timeout.as_dict()["read"] or DEFAULT_SECONDS)
        return Retries(self.max_retries if limit is None else limit, patience)

    def headers(self, call: Call) -> dict[str, str]:
        """Return the headers that all attempts of a call share, one idempotency key among them."""
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
            self.base_url + call.target,
            params={name: value for name, value in call.params.items() if value is not None},
            headers=headers,
            json=call.json,
            content=call.content,
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
    """Return a timeout per attempt; connecting never takes longer than five seconds of it."""
    return seconds if isinstance(seconds, httpx2.Timeout) else httpx2.Timeout(seconds, connect=min(seconds, 5.0))


class Retries:
    """Decides after each attempt of one call: how long to wait before the next, or which error to raise.

    Failures count against `limit`. Answers that say that somebody works on the same thing right now do not: these are
    waited for up to `patience` seconds, unless `limit` is 0.
    """

    def __init__(self, limit: int, patience: float = 0.0) -> None:
        self.limit = limit
        self.patience = patience
        self.failures = 0
        self.waits = 0
        self.waited = 0.0

    def after_error(self, error: httpx2.TransportError) -> float:
        """Return the seconds to wait after an attempt without an answer; raise `APIConnectionError` after the last."""
        if not isinstance(error, PASSING) or self.failures >= self.limit:
            raise connection_error(error) from error
        self.failures += 1
        return backoff(self.failures)

    def after_answer(self, response: httpx2.Response) -> float:
        """Return the seconds to wait after an error answer; raise its `APIStatusError` where waiting is no use."""
        error = status_error(response)
        asked = retry_after(response)
        if error.code in BUSY:
            pause = self._wait(asked)
        elif (retryable(error.status_code) or asked is not None) and self.failures < self.limit:
            self.failures += 1
            pause = max(backoff(self.failures), asked or 0.0)
        else:
            pause = None
        if pause is None:
            raise error
        return pause

    def _wait(self, asked: float | None) -> float | None:
        """Return the seconds to wait for somebody else's work, or null where the patience is at its end."""
        if self.limit == 0 or self.waited >= self.patience:
            return None
        self.waits += 1
        pause = max(backoff(self.waits), asked or 0.0)
        self.waited += pause
        return pause


def backoff(attempt: int) -> float:
    """Return the seconds to wait after the `attempt`-th failure: twice as long each time, with some jitter."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (attempt - 1)) * random.uniform(0.75, 1.0)


def retryable(status: int) -> bool:
    """Return whether the same request may succeed a little later."""
    return status in (408, 429) or status >= 500


def retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that the service asks to wait: at most two minutes, null when it does not say."""
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


def parse(response: httpx2.Response, model: type[M]) -> M:
    """Return the answer as `model`. Raise APIResponseError."""
    return parse_text(response, response.content, model)


def parse_text(response: httpx2.Response, text: str | bytes, model: type[M]) -> M:
    """Return part of an answer (a line, an event) as `model`. Raise APIResponseError."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise APIResponseError(response, f"{model.__name__} {place}: {explained(first)}") from error
