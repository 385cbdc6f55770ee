"""An answer as HTTP has it, beside what the SDK made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True)
class RawResponse:
    """What `with_raw_response` returns."""

    http_response: httpx2.Response
    parsed: Any
    """What the method returns otherwise."""

    @property
    def status_code(self) -> int:
        """Status of the answer."""
        return self.http_response.status_code

    @property
    def headers(self) -> httpx2.Headers:
        """Headers of the answer."""
        return self.http_response.headers

    @property
    def request_id(self) -> str | None:
        """Id by which the service's log knows the request."""
        return self.http_response.headers.get("x-request-id")
