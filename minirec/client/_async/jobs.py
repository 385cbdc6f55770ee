"""What jobs of all kinds have in common: they are looked up, listed, followed, cancelled, retried and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic

import httpx2

from api_schemas import TERMINAL, Event, JobKind, Page, Status
from api_schemas.job_kinds import JobT
from minirec.client import job_calls as calls
from minirec.client._async.transport import AsyncTransport
from minirec.client.core import STREAM_RETRIES, Retries, parse_text
from minirec.client.errors import APIResponseError


class AsyncJobs(Generic[JobT]):
    """All jobs of one kind."""

    def __init__(self, transport: AsyncTransport, kind: JobKind[Any, JobT], page: type[Page[JobT]]) -> None:
        self._transport = transport
        self._kind = kind
        self._path = kind.path
        self._model: type[JobT] = kind.resource
        self._page: type[Page[JobT]] = page

    async def retrieve(self, job_id: str) -> JobT:
        """Return one job as it is now."""
        return await self._transport.get(calls.retrieve(self._path, job_id), self._model)

    async def list(
        self, *, status: Status | None = None, dataset: str | None = None, after: str | None = None
    ) -> AsyncIterator[JobT]:
        """Yield all jobs of this kind, newest first; pages are fetched as the iteration reaches them."""
        while True:
            page = await self._transport.get(calls.page(self._path, after, status, dataset), self._page)
            for row in page.data:
                yield row
            after = page.next_after
            if not page.has_more:
                return

    async def cancel(self, job_id: str) -> JobT:
        """Ask a job to stop; what it has finished is kept. Raises `ConflictError` when it is already over."""
        return await self._transport.get(calls.act(self._path, job_id, "cancel"), self._model)

    async def retry(self, job_id: str) -> JobT:
        """Resume a failed or cancelled job from what is finished. Raises `ConflictError` for any other."""
        return await self._transport.get(calls.act(self._path, job_id, "retry"), self._model)

    async def delete(self, job_id: str) -> None:
        """Delete a job with its results; what other jobs share stays.

        Raises `ConflictError` while it has not ended, or while a job that has not ended needs it, and `NotFoundError`
        where there is no such job (any more).
        """
        await self._transport.delete(calls.delete(self._path, job_id))

    async def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        on_update: Callable[[JobT], None] | None = None,
    ) -> JobT:
        """Return the finished job; `on_update` gets it first and whenever status, stage or progress change.

        Survives a service that is away for up to a minute. Raises `JobFailedError`, `JobCancelledError`, or after
        `timeout` seconds `WaitTimeoutError`; the job does not notice how the waiting ends.
        """
        deadline = calls.Deadline(timeout, self._transport.clock())
        job = await self.retrieve(job_id)
        if on_update is not None:
            on_update(job)
        while not calls.finished(job):
            left = deadline.left(job, self._transport.clock())
            newer = await self._transport.get(calls.poll(self._path, job_id, left), self._model, retries=STREAM_RETRIES)
            if self._kind.progress_of(job) != self._kind.progress_of(newer):
                if on_update is not None:
                    on_update(newer)
            else:
                await self._transport.sleep(calls.IDLE_PAUSE)
            job = newer
        return job

    async def events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the events of a job, live, until it is over; `after` resumes behind an event seen earlier.

        Reconnects where the connection breaks and misses nothing.
        """
        retries = Retries(STREAM_RETRIES)
        while True:
            silent = True
            try:
                async with self._transport.stream(calls.stream_events(self._path, job_id, after), retries) as response:
                    async for message in httpx2.EventSource(response):
                        if not message.data:
                            continue
                        event = parse_text(response, message.data, Event)
                        silent, after, retries = False, event.id, Retries(STREAM_RETRIES)
                        yield event
                        if calls.is_last(event):
                            return
            except httpx2.SSEError as error:
                raise APIResponseError(response, str(error)) from error
            except httpx2.TransportError as error:
                await self._transport.sleep(retries.after_error(error))
                continue
            job = await self.retrieve(job_id)
            if silent and job.status in TERMINAL:
                return
            await self._transport.sleep(calls.IDLE_PAUSE)
