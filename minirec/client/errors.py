"""What can go wrong, as one tree; every error says what was wrong, where, and what to do.

MiniRecError
  ConfigurationError              base URL, key or proxy cannot be used; nothing was sent; a ValueError, too
  StackError                      `MiniRec.local()` could not start a stack
  APIError                        the service was asked; carries `request_id` where there was an answer
    APIConnectionError            no answer: refused, broken off, wrong address
      APITimeoutError             no answer in time
    APIResponseError              an answer that is not MiniRec's
    APIStatusError                an error answer: `status_code`, `code`, `detail`, `errors`, `request_id`
      BadRequestError (400)  AuthenticationError (401)  PermissionDeniedError (403)  NotFoundError (404)
      ConflictError (409)  PayloadTooLargeError (413)  UnprocessableError (422)  RateLimitError (429)
      InternalServerError (5xx)
  JobStateError                   the job itself; carries `job`, of whatever kind
    JobFailedError  JobCancelledError
    WaitTimeoutError              the job still runs; only the waiting ended
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
from pydantic import ValidationError

from minirec.api_schemas import Dataset, FieldError, Job, Problem, RowError

SHOWN_ERRORS = 10
"""How many of a problem's faults its text lists; all of them are in `.errors`."""
SHOWN_IDS = 5


class MiniRecError(Exception):
    """Base of every error of this package."""


class ConfigurationError(MiniRecError, ValueError):
    """The base URL, the key or a proxy cannot be used; nothing was sent."""


class StackError(MiniRecError):
    """A stack for this script or notebook does not come up; the message is its own."""


class APIError(MiniRecError):
    """A call to the service did not succeed."""

    request_id: str | None = None


class APIConnectionError(APIError):
    """No answer came from the service."""


class APITimeoutError(APIConnectionError):
    """No answer came in time."""


class APIResponseError(APIError):
    """Something answered, but not with what MiniRec sends."""

    def __init__(self, response: httpx2.Response, reason: str) -> None:
        self.request_id = response.headers.get("x-request-id")
        super().__init__(
            f"{response.request.url} did not answer as a MiniRec service does ({reason}). "
            "Check the base URL, and that client and service have the same version."
        )


class APIStatusError(APIError):
    """The service answered with an error."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.status_code = problem.status
        self.code = problem.code
        self.detail = problem.detail
        self.errors: list[FieldError | RowError] = problem.errors
        self.request_id = problem.request_id
        super().__init__(describe(problem))


class BadRequestError(APIStatusError):
    """400: the request is malformed."""


class AuthenticationError(APIStatusError):
    """401: no key, or one that the service does not accept."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: no such dataset, job or route."""


class ConflictError(APIStatusError):
    """409: not in the state that the thing is in now."""


class PayloadTooLargeError(APIStatusError):
    """413: more bytes than the service takes."""


class UnprocessableError(APIStatusError):
    """422: understood, but wrong; `errors` says in which field or in which line of which file."""


class RateLimitError(APIStatusError):
    """429: too many requests, even after waiting for as long as the service asked."""


class InternalServerError(APIStatusError):
    """5xx: the service's own fault."""


def not_ready(dataset: Dataset) -> APIStatusError:
    """Return the error for a dataset whose files were not checked to the end, or are faulty."""
    failure = dataset.failure
    if failure is None:
        detail = f"the checking of {dataset.id} was cancelled"
        return ConflictError(Problem(title="Conflict", status=409, code="dataset_cancelled", detail=detail))
    faulty = bool(failure.errors)
    problem = Problem(
        title="Unprocessable Content" if faulty else "Conflict",
        status=422 if faulty else 409,
        code=failure.code,
        detail=failure.message if faulty else f"the checking of {dataset.id} failed: {failure.message}",
        errors=list(failure.errors),
        total_errors=failure.total_errors or None,
    )
    return (UnprocessableError if faulty else ConflictError)(problem)


BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}


class JobStateError(MiniRecError):
    """A job did not come to its result."""

    def __init__(self, job: Job, message: str) -> None:
        self.job = job
        super().__init__(f"{job.object.replace('_', ' ')} {job.id} {message}")


class JobFailedError(JobStateError):
    """The job failed; `job.error` says why, and whether a retry may help."""

    def __init__(self, job: Job) -> None:
        error = job.error
        message = "failed"
        advice = "A retry resumes from what is finished."
        if error is not None:
            message += f" while {error.stage}" if error.stage else ""
            message += f": {error.message.rstrip('.')} ({error.code})"
            if error.sample_ids:
                message += f"; samples: {shortened(error.sample_ids)}"
            if not error.retryable:
                advice = "A retry fails in the same way until the cause is mended."
        super().__init__(job, f"{message}. {advice}")


class JobCancelledError(JobStateError):
    """The job was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "was cancelled. A retry resumes from what is finished.")


class WaitTimeoutError(JobStateError, TimeoutError):
    """The waiting is over; the job is not."""

    def __init__(self, job: Job, timeout: float) -> None:
        super().__init__(job, f"is still {job.status} after {timeout:g} s; it keeps running.")


def status_error(response: httpx2.Response) -> APIStatusError:
    """Return the error for an error answer whose body has been read."""
    problem = read_problem(response)
    kind = InternalServerError if problem.status >= 500 else BY_STATUS.get(problem.status, APIStatusError)
    return kind(problem)


def read_problem(response: httpx2.Response) -> Problem:
    """Return the answer's problem document, or one made from what a proxy or another server sent instead."""
    request_id = response.headers.get("x-request-id")
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        text = " ".join(response.text.split())[:200]
        if response.has_redirect_location:
            text = f"the answer points to {response.headers['location']}; use the service's own address as base URL"
        return Problem(
            title=response.reason_phrase,
            status=response.status_code,
            code=f"http_{response.status_code}",
            detail=text or response.reason_phrase or "no further explanation",
            request_id=request_id,
        )
    return problem.model_copy(update={"request_id": problem.request_id or request_id})


def describe(problem: Problem) -> str:
    """Return a problem as text: one line for the whole, one for each of the first faults."""
    shown = problem.errors[:SHOWN_ERRORS]
    detail = problem.detail
    if len(problem.errors) == 1 and problem.errors[0].msg in detail:
        shown = []
    elif shown and isinstance(shown[0], RowError):
        # The service repeats the first faults here, for clients that show nothing else.
        detail = detail.partition(f": {shown[0].file}")[0]
    lines = [f"{detail} ({problem.status} {problem.code})"]
    lines += [f"  {place(error)}: {error.msg}" for error in shown]
    hidden = (problem.total_errors or len(problem.errors)) - max(len(shown), min(1, len(problem.errors)))
    if hidden > 0:
        lines.append(f"  and {hidden} more")
    if problem.request_id:
        lines.append(f"  request id: {problem.request_id}")
    return "\n".join(lines)


def place(error: FieldError | RowError) -> str:
    """Return where a fault is: `samples.jsonl:17 history`, or `rollouts.top_k` in a request body."""
    if isinstance(error, RowError):
        line = f":{error.line}" if error.line is not None else ""
        field = f" {error.field}" if error.field else ""
        return f"{error.file}{line}{field}"
    return ".".join(str(part) for part in error.loc) or "body"


def shortened(ids: Sequence[str]) -> str:
    """Return the first few ids, and how many follow."""
    hidden = len(ids) - SHOWN_IDS
    return ", ".join(ids[:SHOWN_IDS]) + (f" and {hidden} more" if hidden > 0 else "")
