"""The calls that all kinds of jobs answer, and how their answers are understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from minirec.api_schemas import TERMINAL, Event, Job, Status
from minirec.client.core import Call
from minirec.client.errors import JobCancelledError, JobFailedError, WaitTimeoutError

LONG_POLL = 30.0
"""Seconds that the service may hold a request of `wait` until something changes."""
SILENCE = 60.0
"""Seconds without so much as a ping after which a stream of events counts as broken."""
IDLE_PAUSE = 1.0
"""Seconds before asking again where nothing had changed, in case the service does not hold requests."""


def retrieve(path: str, job_id: str) -> Call:
    return Call("GET", f"{path}/{job_id}")


def poll(path: str, job_id: str, seconds: float) -> Call:
    """Build a `retrieve` that the service holds until something changes."""
    held = min(LONG_POLL, seconds)
    return Call("GET", f"{path}/{job_id}", params={"wait": f"{held:.3f}"}, read_timeout=held + LONG_POLL)


def page(
    path: str, after: str | None, status: Status | None, dataset: str | None, metadata: Mapping[str, str] | None
) -> Call:
    """Build a `list`.

    Args:
        path: Of the jobs.
        after: Id of the job before the first one.
        status: Only jobs in this status.
        dataset: Id; only jobs on this dataset.
        metadata: Only jobs with these pairs among theirs.
    """
    pairs = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
    return Call("GET", path, params={"after": after, "status": status, "dataset_id": dataset, **pairs})


def act(path: str, job_id: str, verb: Literal["cancel", "retry"]) -> Call:
    return Call("POST", f"{path}/{job_id}/{verb}")


def delete(path: str, job_id: str) -> Call:
    return Call("DELETE", f"{path}/{job_id}")


def stream_events(path: str, job_id: str, after: str | None) -> Call:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = after
    return Call("GET", f"{path}/{job_id}/events", headers=headers, read_timeout=SILENCE)


def is_last(event: Event) -> bool:
    """Return whether no event follows this one, unless somebody retries the job."""
    return event.type == "status" and event.data.get("status") in TERMINAL


def finished(job: Job) -> bool:
    """Return whether the job has its result. Raise `JobFailedError` or `JobCancelledError` where it never will."""
    if job.status == "failed":
        raise JobFailedError(job)
    if job.status == "cancelled":
        raise JobCancelledError(job)
    return job.status == "succeeded"


class Deadline:
    """The end of a `wait`."""

    def __init__(self, timeout: float | None, now: float) -> None:
        self.timeout = timeout
        self.end = None if timeout is None else now + timeout

    def left(self, job: Job, now: float) -> float:
        """Return the seconds left. Raise `WaitTimeoutError` when there are none."""
        if self.end is None or self.timeout is None:
            return LONG_POLL
        if now >= self.end:
            raise WaitTimeoutError(job, self.timeout)
        return self.end - now
