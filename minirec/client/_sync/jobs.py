# Generated from ../_async by scripts/unasync.py. Do not edit.
"""What jobs of all kinds have in common: they are looked up, listed, followed, cancelled, retried and deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Self

import httpx2
from pydantic import PrivateAttr

from minirec.api_schemas import Event, Job, JobKind, Page, Status
from minirec.api_schemas.job_kinds import JobT
from minirec.client import job_calls as calls
from minirec.client._sync.pages import Pages
from minirec.client._sync.resource import Resource
from minirec.client._sync.transport import Transport
from minirec.client.core import STREAM_RETRIES, Call, Retries, parse_text
from minirec.client.errors import APIResponseError
from minirec.client.progress import watched
from minirec.client.refs import DatasetRef, JobRef, dataset_of, id_of

NOTHING_LEFT = 204
"""What the service answers a client of a stream whose job is over, with no event behind the one it named."""


class LiveJob(Job):
    """What every job can do that the client hands out; `wait`, `refresh`, `cancel` and `retry` bring it up to date."""

    _jobs: Jobs[Any] = PrivateAttr()

    def wait(
        self,
        *,
        timeout: float | None = None,
        progress: bool = False,
        on_update: Callable[[Self], None] | None = None,
    ) -> Self:
        """Return this job when it has its result; see `wait` of `client.selections` and the like."""

        def take(newer: Self) -> None:
            self._take(newer)
            if on_update is not None:
                on_update(newer)

        self._take(self._jobs.wait(self.id, timeout=timeout, progress=progress, on_update=take))
        return self

    def refresh(self) -> Self:
        """Bring this job up to date, and return it."""
        return self._take(self._jobs.retrieve(self.id))

    def cancel(self) -> Self:
        """Ask this job to stop; what it has finished is kept. Raises `ConflictError` when it is already over."""
        return self._take(self._jobs.cancel(self.id))

    def retry(self) -> Self:
        """Resume this job from what is finished. Raises `ConflictError` unless it failed or was cancelled."""
        return self._take(self._jobs.retry(self.id))

    def delete(self) -> None:
        """Delete this job with its results; what other jobs share stays."""
        self._jobs.delete(self.id)

    def events(self, *, after: str | None = None) -> Iterator[Event]:
        """Yield the events of this job, live, until it is over."""
        return self._jobs.events(self.id, after=after)

    def _take(self, newer: Job) -> Self:
        jobs = self._jobs
        # As unpickling does: fields, and those that this version does not know.
        self.__setstate__(newer.model_copy().__getstate__())
        self._jobs = jobs
        return self

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": None}  # connections do not go into a pickle


class Jobs(Resource, Generic[JobT]):
    """All jobs of one kind."""

    def __init__(self, transport: Transport, kind: JobKind[Any, Any], live: type[JobT]) -> None:
        super().__init__(transport)
        self._kind = kind
        self._path = kind.path
        self._model = live
        self._page: type[Page[JobT]] = Page[live]  # type: ignore[valid-type]

    def _live(self, job: JobT) -> JobT:
        assert isinstance(job, LiveJob)
        job._jobs = self
        return job

    def _id(self, job: JobRef) -> str:
        return id_of(job, self._kind.name)

    def _job(self, call: Call) -> JobT:
        return self._live(self._transport.get(call, self._model))

    def retrieve(self, job_id: JobRef) -> JobT:
        """Return one job as it is now."""
        return self._job(calls.retrieve(self._path, self._id(job_id)))

    def list(
        self,
        *,
        status: Status | None = None,
        dataset: DatasetRef | None = None,
        metadata: Mapping[str, str] | None = None,
        after: JobRef | None = None,
        limit: int | None = None,
    ) -> Pages[JobT]:
        """Return all jobs of this kind, newest first: iterate over them, or over `pages()`.

        Args:
            status: Only jobs in this status.
            dataset: Only jobs on this dataset, or its id.
            metadata: Only jobs with these pairs among their metadata.
            after: The job, or its id, that the list begins behind.
            limit: The most that come.
        """
        behind = None if after is None else self._id(after)
        call = calls.page(self._path, behind, status, dataset_of(dataset), metadata)
        return Pages(self._transport, call, self._page, limit=limit, prepare=self._live)

    def cancel(self, job_id: JobRef) -> JobT:
        """Ask a job to stop; what it has finished is kept. Raises `ConflictError` when it is already over."""
        return self._job(calls.act(self._path, self._id(job_id), "cancel"))

    def retry(self, job_id: JobRef) -> JobT:
        """Resume a failed or cancelled job from what is finished. Raises `ConflictError` for any other."""
        return self._job(calls.act(self._path, self._id(job_id), "retry"))

    def delete(self, job_id: JobRef) -> None:
        """Delete a job with its results; what other jobs share stays.

        Raises `ConflictError` while it has not ended, or while a job that has not ended needs it, and `NotFoundError`
        where there is no such job (any more).
        """
        self._transport.delete(calls.delete(self._path, self._id(job_id)))

    def wait(
        self,
        job_id: JobRef,
        *,
        timeout: float | None = None,
        progress: bool = False,
        on_update: Callable[[JobT], None] | None = None,
    ) -> JobT:
        """Return the finished job; `on_update` gets it first and whenever status, stage or progress change.

        `progress` shows a bar on standard error. Survives a service that is away for up to a minute. Raises
        `JobFailedError`, `JobCancelledError`, or after `timeout` seconds `WaitTimeoutError`. The job does not notice
        how the waiting ends; after Ctrl-C the `KeyboardInterrupt` says how to come back.
        """
        deadline = calls.Deadline(timeout, self._transport.clock())
        with watched(progress) as show:
            job = self.retrieve(job_id)
            show(job)
            if on_update is not None:
                on_update(job)
            while not calls.finished(job):
                left = deadline.left(job, self._transport.clock())
                call = calls.poll(self._path, job.id, left)
                newer = self._live(self._transport.get(call, self._model, retries=STREAM_RETRIES))
                show(newer)
                if self._kind.progress_of(job) != self._kind.progress_of(newer):
                    if on_update is not None:
                        on_update(newer)
                else:
                    self._transport.sleep(calls.IDLE_PAUSE)
                job = newer
        return job

    def events(self, job_id: JobRef, *, after: str | None = None) -> Iterator[Event]:
        """Yield the events of a job, live, until it is over; `after` resumes behind an event seen earlier.

        Reconnects where the connection breaks and misses nothing.
        """
        retries, job_id = Retries(STREAM_RETRIES), self._id(job_id)
        while True:
            try:
                with self._transport.stream(calls.stream_events(self._path, job_id, after), retries) as response:
                    # Only this says that nothing is left: a stream that ends may have been broken by the service.
                    if response.status_code == NOTHING_LEFT:
                        return
                    for message in httpx2.EventSource(response):
                        if not message.data:
                            continue
                        event = parse_text(response, message.data, Event)
                        after, retries = event.id, Retries(STREAM_RETRIES)
                        yield event
                        if calls.is_last(event):
                            return
            except httpx2.SSEError as error:
                raise APIResponseError(response, str(error)) from error
            except httpx2.TransportError as error:
                self._transport.sleep(retries.after_error(error))
                continue
            self._transport.sleep(calls.IDLE_PAUSE)
