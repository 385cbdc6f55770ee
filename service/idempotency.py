"""`Idempotency-Key`: a POST that is sent again with the same key gets the first one's answer, and does nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.responses import Response

from minirec.service.dependencies import StoreOf
from minirec.service.problems import ProblemError
from minirec.store.records import IdempotencyConflictError, IdempotencyRecords, Replay
from minirec.store.renewal import renewed
from minirec.store.tenants import index_of

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes it safe to send the request again: for a day, the same key and body get the same answer.",
    ),
]
_KEPT_HEADERS = ("location",)
ANSWER_SECONDS = 15
"""How long a key stays reserved when the process that was answering is gone."""


class Once:
    """Answers a request at most once per key; every time where there is no key."""

    def __init__(self, records: IdempotencyRecords, scope: str, key: str | None) -> None:
        self._records = records
        self._key = None if key is None else _digest(f"{scope}\n{key}")

    def job_id(self, body: str, fresh: str) -> str:
        """Return the id for a job that the request makes: the same at each attempt with a key, else the fresh one.

        An attempt may die between making the job and keeping its answer; the next one then finds the job.
        """
        if self._key is None:
            return fresh
        return self._records.first(self._key, _digest(body), fresh)

    def __call__(self, body: str, answer: Callable[[], Response], *, seconds: int = ANSWER_SECONDS) -> Response:
        """The answer, given now or before to the same `body`. Raises ProblemError 409 or 422."""
        if self._key is None:
            return answer()
        fingerprint = _digest(body)
        try:
            found = self._records.begin(self._key, fingerprint, seconds=seconds)
        except IdempotencyConflictError as error:
            if error.in_progress:
                raise ProblemError(409, "idempotency_in_progress", f"{error}; ask again in a moment") from error
            raise ProblemError(422, "idempotency_key_reused", f"{error}; send a new key with a new request") from error
        if isinstance(found, Replay):
            return Response(found.body, found.status, headers=found.headers, media_type="application/json")
        try:
            with renewed(lambda: self._records.renew(found, seconds=seconds), every=seconds / 3):
                response = answer()
        except BaseException:
            self._records.abandon(found)
            raise
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        self._records.finish(found, Replay(response.status_code, bytes(response.body), headers))
        return response


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _once(request: Request, store: StoreOf, key: Key = None) -> Once:
    scope = f"{request.method} {request.url.path}"
    # Tenants may come to use the same key: each has its own answer.
    return Once(store.idempotency, index_of(scope, store.tenant), key)


OnceOf = Annotated[Once, Depends(_once)]
