"""What the routes of all kinds of jobs share: pages, waiting for a change, cancelling, retrying."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import Annotated, TypeVar

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api_schemas import TERMINAL, AdapterReference, ModelReference, Page, Selection, TrainingJob
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord
from service.content import content_lock
from service.events import changes
from service.lookup import dataset_or_404, job_or_404
from service.problems import ProblemError, invalid

J = TypeVar("J", Selection, TrainingJob)
View = Callable[[JobRecord], J]

PATHS = {"selection": "/v1/selections", "training": "/v1/training_jobs"}
MAX_WAIT_SECONDS = 60
PROGRESS = {"status", "stage", "counts", "updates_done", "updates_total"}

Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to hold the answer until status, stage or progress change"),
]


def page_of(
    store: Store, kind: str, view: View[J], *, limit: int, after: str | None, status: str | None, dataset_id: str | None
) -> Page[J]:
    """Jobs of a kind, newest first. Raises ProblemError 422 for an `after` that is none."""
    try:
        records, has_more = store.jobs.page(kind, limit=limit, after=after, status=status, dataset_id=dataset_id)
    except NotFoundError as error:
        raise invalid("invalid_cursor", ("query", "after"), str(error)) from error
    data = [view(record) for record in records]
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


async def wait_for(settings: Settings, store: Store, job_id: str, view: View[J], wait: float) -> J:
    """A job as it is, or with `wait` as soon as it is no longer as it was. Raises ProblemError 404."""

    def look() -> J:
        return view(job_or_404(store, job_id))

    first = await run_in_threadpool(look)
    if wait == 0 or first.status in TERMINAL:
        return first
    deadline = time.monotonic() + wait
    newest = first
    async with aclosing(changes(settings, store, job_id, after="$", every=min(wait, 1.0))) as events:
        async for _ in events:
            newest = await run_in_threadpool(look)
            if _progress(newest) != _progress(first) or time.monotonic() >= deadline:
                break
    return newest


def _progress(job: Selection | TrainingJob) -> object:
    return job.model_dump(include=PROGRESS)


def cancel(store: Store, job_id: str, view: View[J]) -> Response:
    """Stop a job. Raises ProblemError 404 or 409."""
    job_or_404(store, job_id)
    if store.machine.cancel(job_id) == "finished":
        raise ProblemError(409, "job_finished", f"{job_id} is over already; there is nothing to cancel")
    return accepted(store, job_id, view)


def retry(store: Store, job_id: str, view: View[J]) -> Response:
    """Go on with a failed or cancelled job. Raises ProblemError 404 or 409."""
    record = job_or_404(store, job_id)
    dataset = dataset_or_404(store, record.fields["dataset_id"])
    with content_lock(store, dataset.content_hash):
        dataset_or_404(store, dataset.id)
        if store.machine.retry(job_id) == "unfinished":
            raise ProblemError(
                409, "not_retryable", f"{job_id} is {record.status}; only failed and cancelled ones go on"
            )
    return accepted(store, job_id, view)


def accepted(store: Store, job_id: str, view: View[J]) -> Response:
    """The answer for a job that is on its way."""
    record = job_or_404(store, job_id)
    return Response(
        view(record).model_dump_json(),
        202,
        headers={"Location": f"{PATHS[record.kind]}/{job_id}"},
        media_type="application/json",
    )


def check_models_allowed(references: Iterable[object], settings: Settings) -> None:
    """Refuse hub ids that the operator did not allow; the worker checks again. Raises ProblemError 403."""
    for reference in references:
        if not isinstance(reference, ModelReference | AdapterReference) or reference.source != "hub":
            continue
        if not any(fnmatchcase(reference.id, pattern) for pattern in settings.allowed_models):
            raise ProblemError(
                403,
                "model_not_allowed",
                f"{reference.id} is not among the models allowed here: {', '.join(settings.allowed_models)}",
            )
