"""Every error answer is one problem document (RFC 9457): what was wrong, where, and under which request id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from minirec.api_schemas import FieldError, Problem, RowError
from minirec.api_schemas.messages import located
from minirec.store.errors import FULL, ContentBusyError, LostError, is_storage_fault

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {
    "store_unavailable": 2,
    "storage_full": 30,
    "dataset_busy": 2,
    "idempotency_in_progress": 1,
    "too_many_requests": 1,
}
"""Seconds after which the same request may succeed, for codes of problems that pass by themselves."""

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}
"""Code of a problem that the framework found."""


class ProblemError(HTTPException):
    """Raised anywhere while a request is answered; becomes its problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError | RowError] = (),
        total_errors: int | None = None,
        context: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        passing = {"Retry-After": str(RETRY_AFTER[code])} if code in RETRY_AFTER else {}
        super().__init__(status, detail, passing | dict(headers or {}) or None)
        self.code = code
        self.errors = list(errors)
        self.total_errors = total_errors
        self.context = dict(context or {})


def invalid(code: str, loc: Sequence[str | int], msg: str) -> ProblemError:
    """Return a 422 that names the one field at fault."""
    where = ".".join(str(part) for part in loc)
    return ProblemError(422, code, f"{where}: {msg}", errors=[FieldError(loc=list(loc), msg=msg)])


def problem_response(request: Request, error: ProblemError) -> Response:
    """Return the answer for an error."""
    problem = Problem(
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=error.detail,
        instance=request.url.path,
        code=error.code,
        errors=error.errors,
        total_errors=error.total_errors,
        context=error.context,
        request_id=request.state.request_id,
    )
    # Unknown bytes in a path arrive as lone surrogates, which are no JSON: they go out as question marks.
    body = problem.model_dump_json(exclude_none=True, exclude_defaults=False, ensure_ascii=True)
    return Response(body, error.status_code, headers=error.headers, media_type=MEDIA_TYPE)


def internal_error() -> ProblemError:
    """Return the answer to a fault of our own: it says nothing but where the operator finds the reason."""
    return ProblemError(
        500, "internal_error", "the service failed at this request; its log has the reason under the request id"
    )


def install(app: FastAPI) -> None:
    """Make every error answer of an application a problem document."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(RedisConnectionError, _store_unavailable)
    app.add_exception_handler(RedisTimeoutError, _store_unavailable)
    app.add_exception_handler(OutOfMemoryError, _redis_full)
    app.add_exception_handler(ReadOnlyError, _store_unavailable)
    app.add_exception_handler(BusyLoadingError, _store_unavailable)
    app.add_exception_handler(OSError, _disk)
    app.add_exception_handler(LostError, _lost)
    app.add_exception_handler(ContentBusyError, _busy)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, ProblemError):
        return problem_response(request, error)
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    code = CODES.get(error.status_code, "http_error")
    return problem_response(request, ProblemError(error.status_code, code, _detail(request, error), headers=headers))


def _allowed(request: Request) -> str:
    """Return every method of a path; the framework names those of the first route that has it."""
    routes = request.app.routes
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


def _detail(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"there is nothing at {request.url.path}; /openapi.json lists the routes"
    if error.status_code == 405:
        return f"{request.url.path} does not answer {request.method}; the Allow header lists what it answers"
    if error.status_code == 400:
        return f"the body cannot be read: {error.__cause__ or error.detail}"
    return str(error.detail)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        FieldError(loc=list(loc), msg=words, type=kind) for loc, words, kind in located(error.errors(), error.body)
    ]
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    detail = f"{'.'.join(str(part) for part in first.loc)}: {first.msg}{more}"
    return problem_response(request, ProblemError(422, "invalid_request", detail, errors=faults))


async def _lost(request: Request, error: Exception) -> Response:
    log.error("stored data is lost: %s", error)
    detail = f"{error}. Scores and results come back with a new job of the same kind; datasets must be uploaded again"
    return problem_response(request, ProblemError(410, "data_lost", detail))


async def _busy(request: Request, error: Exception) -> Response:
    return problem_response(request, ProblemError(409, "dataset_busy", str(error)))


async def _store_unavailable(request: Request, error: Exception) -> Response:
    log.warning("Redis does not answer: %s", error)
    return problem_response(
        request,
        ProblemError(503, "store_unavailable", "Redis does not answer; nothing was lost, send the request again"),
    )


async def _redis_full(request: Request, error: Exception) -> Response:
    log.error("Redis is full: %s", error)
    detail = "Redis has reached its memory limit (maxmemory); jobs wait until there is room: delete some, or raise it"
    return problem_response(request, ProblemError(507, "storage_full", detail))


async def _disk(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if not is_storage_fault(error):
        raise error
    log.error("the storage fails: %s", error)
    if error.errno in FULL:
        detail = "there is no room left for files (the disk, or the quota); nothing of the request was kept"
        return problem_response(request, ProblemError(507, "storage_full", detail))
    detail = "files cannot be stored or read at the moment; the service's log has the reason"
    return problem_response(request, ProblemError(503, "store_unavailable", detail))


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for a route that can answer with these statuses (see service/openapi.py)."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}
