"""The events of a job: a page of them, or all of them live as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import redis.asyncio
import structlog
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from minirec.api_schemas import TERMINAL, Event, EventPage, Page
from minirec.service.lookup import job_or_404
from minirec.service.problems import ProblemError
from minirec.settings import Settings
from minirec.store import REQUEST_PATIENCE, Store
from minirec.store.events import follow

PING_SECONDS = 15
SSE = "text/event-stream"
EVENT_ID = r"^[0-9]{1,19}(-[0-9]{1,19})?$"

log = structlog.get_logger(__name__)

SeenT = TypeVar("SeenT")

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EventPage,
        "content": {
            SSE: {
                "schema": {
                    "type": "string",
                    "description": "Server-sent events: `event` is the `type`, `id` the `id`, and `data` the JSON of "
                    "an event as pages have it",
                }
            }
        },
        "description": "Events, oldest first",
    },
    204: {"description": "To a client of server-sent events: the job is over and there is nothing left"},
}


async def answer_live(settings: Settings, store: Store, job_id: str, after: str | None) -> Response:
    """Return the stream of a job's events behind `after`, until the job is over. Raises ProblemError 404."""
    if await run_in_threadpool(_is_over, store, job_id, after):
        # Browsers reconnect to a stream that ends, but not after a 204.
        return Response(status_code=204, media_type=SSE)
    return EventSourceResponse(_stream(settings, store, job_id, after), ping=PING_SECONDS)


def page(store: Store, job_id: str, after: str | None, limit: int) -> Page[Event]:
    """Return events of a job behind `after`, oldest first. Raises ProblemError 404."""
    job_or_404(store, job_id)
    events = store.events.read(job_id, after=after, limit=limit + 1)
    has_more = len(events) > limit
    return Page(data=events[:limit], has_more=has_more, next_after=events[limit - 1].id if has_more else None)


def _is_over(store: Store, job_id: str, after: str | None) -> bool:
    """Return whether the job has ended and no event is left. Raises ProblemError 404."""
    # The status first: a retry adds an event, which then is found.
    ended = job_or_404(store, job_id).status in TERMINAL
    return ended and not store.events.read(job_id, after=after, limit=1)


async def _stream(settings: Settings, store: Store, job_id: str, after: str | None) -> AsyncIterator[ServerSentEvent]:
    try:
        async with aclosing(changes(settings, store, job_id, after=after)) as events:
            async for event in events:
                if event is None:
                    continue
                yield ServerSentEvent(event.model_dump_json(), id=event.id, event=event.type)
                if event.type == "status" and await run_in_threadpool(_is_over, store, job_id, event.id):
                    return
    except ProblemError as error:
        log.info("event_stream_ended", job_id=job_id, reason=str(error.detail))  # The job was deleted meanwhile.
    except RedisError as error:
        # The client comes back with its last event's id and misses nothing.
        log.warning("event_stream_broken", job_id=job_id, error=str(error))


async def until_changed(
    settings: Settings,
    store: Store,
    job_id: str,
    look: Callable[[], SeenT],
    *,
    is_over: Callable[[SeenT], bool],
    compared: Callable[[SeenT], object],
    seconds: float,
) -> SeenT:
    """Return what is seen of a job: at once where it is over, else as soon as it has changed.

    Args:
        settings: The address of Redis is taken from here.
        store: Its prefix of keys.
        job_id: Id of the job.
        look: Returns what is seen now; called in a thread.
        is_over: Whether nothing can change any more.
        compared: What has to differ for a change.
        seconds: How long to wait for one at most; 0 does not wait.

    Raises:
        ProblemError: As `look` does.
    """
    first = await run_in_threadpool(look)
    if seconds == 0 or is_over(first):
        return first
    deadline = time.monotonic() + seconds
    before, newest = compared(first), first
    async with aclosing(changes(settings, store, job_id, after="$", every=min(seconds, 1.0))) as events:
        async for _ in events:
            newest = await run_in_threadpool(look)
            if compared(newest) != before or time.monotonic() >= deadline:
                break
    return newest


async def changes(
    settings: Settings, store: Store, job_id: str, *, after: str | None = None, every: float = 10.0
) -> AsyncGenerator[Event | None]:
    """Yield events of a job as they come, over a separate connection, and None whenever none came for a while.

    Args:
        settings: The address of Redis is taken from here.
        store: Its prefix of keys.
        job_id: Id of the job.
        after: Id of the event before the first one; None starts at the beginning.
        every: Seconds without an event until None is yielded.
    """
    async with redis.asyncio.Redis.from_url(
        settings.redis_url, socket_timeout=every + REQUEST_PATIENCE, socket_connect_timeout=REQUEST_PATIENCE
    ) as connection:
        async for event in follow(connection, store.prefix, job_id, after=after, block_seconds=every):
            yield event
