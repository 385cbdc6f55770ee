"""What the routes of all kinds of jobs do: create, list, wait for a change, cancel, retry, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
from pydantic import ValidationError
from starlette.responses import Response

from minirec import tracing
from minirec.api_schemas import TERMINAL, Page
from minirec.api_schemas.job_kinds import JobT, RequestT
from minirec.api_schemas.jobs import Waiting
from minirec.service.events import until_changed
from minirec.service.lookup import dataset_or_404, job_or_404
from minirec.service.problems import ProblemError, invalid
from minirec.service.served_kind import ServedKind
from minirec.service.used_models import used_model
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.contents import content_lock
from minirec.store.errors import InUseError, NotFoundError
from minirec.store.ids import new_id
from minirec.store.jobs import JobRecord
from minirec.store.places import place_of
from minirec.store.retention import delete_job
from minirec.store.tenants import owner

log = structlog.get_logger(__name__)


def create(
    served: ServedKind[RequestT, JobT], store: Store, settings: Settings, body: RequestT, *, job_id: str | None = None
) -> Response:
    """Start a job, or find the one that an earlier attempt at the same request started under its id.

    Args:
        served: The kind.
        store: Where the job will be.
        settings: Of the service.
        body: The request.
        job_id: The job's id; a new one unless given.

    Raises:
        ProblemError: The request cannot be met.
    """
    new = served.start(store, settings, body)
    job_id = job_id or new_id(served.kind.prefix)
    prepare = served.prepare(job_id=job_id).stage("preparing")
    fields = {
        "request": new.request.model_dump_json(),
        "dataset_id": new.dataset.id,
        **new.fields,
        **owner(store.tenant),
        **tracing.fields(),
    }
    # What lists look for, beside requests that may be megabytes.
    fields["metadata"], fields["used_model"] = json.dumps(getattr(body, "metadata", {})), used_model(new.request)
    with content_lock(store, new.dataset.content_hash):
        dataset_or_404(store, new.dataset.id)  # It may have been deleted since.
        for needed in new.needs:
            job_or_404(store, needed)
        # An id can only be taken by this same request: re-sent by the Redis client after a broken connection, or by the
        # client with its Idempotency-Key after the service died.
        store.machine.create(job_id, served.kind.name, fields, [prepare], needs=new.needs)
    return accepted(served, store, job_id)


def page_of(
    served: ServedKind[Any, JobT],
    store: Store,
    *,
    limit: int,
    after: str | None,
    status: str | None,
    dataset_id: str | None,
    metadata: Mapping[str, str] | None = None,
) -> Page[JobT]:
    """Return jobs of a kind, newest first.

    Args:
        served: The kind.
        store: Where the jobs are.
        limit: How many jobs at most.
        after: Id of the job before the first one; None starts at the newest.
        status: Only jobs in this status.
        dataset_id: Only jobs on this dataset.
        metadata: Only jobs with these pairs among their metadata.

    Raises:
        ProblemError: 422, `after` no longer exists.
    """
    try:
        records, has_more = store.jobs.page(
            served.kind.name, limit=limit, after=after, status=status, dataset_id=dataset_id, metadata=metadata
        )
    except NotFoundError as error:
        raise invalid("invalid_cursor", ("query", "after"), str(error)) from error
    data = []
    for record in records:
        try:
            data.append(shown(served, record))
        except ProblemError as error:
            # One record must not hide the others; asking for it by its id says what is wrong with it.
            log.warning("job_left_out_of_list", job_id=record.id, reason=error.detail)
    return Page(data=data, has_more=has_more, next_after=records[-1].id if has_more else None)


def shown(served: ServedKind[Any, JobT], record: JobRecord) -> JobT:
    """Return a job as its resource.

    Raises:
        ProblemError: 410, another release stored a request that this one refuses.
    """
    try:
        return served.view(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProblemError(
            410,
            "job_unreadable",
            f"{record.id} was stored by a release that accepted what this one refuses ({where}: {first['msg']}); it "
            "can be deleted, not shown",
        ) from error


def placed(store: Store, record: JobRecord, job: JobT) -> JobT:
    """Return a job with its place in the queue while nobody works on it, and with whom it shares its work."""
    place = place_of(store.jobs, record)
    if place is None:
        return job
    waiting = None
    if place.ahead is not None:
        workers = sum(place.queue in worker.queues for worker in store.workers.alive())
        waiting = Waiting(ahead=place.ahead, workers=workers, starts_at=place.starts_at)
    return job.model_copy(update={"waiting": waiting, "shared_with": place.shared_with})


async def wait_for(
    served: ServedKind[Any, JobT], settings: Settings, store: Store, job_id: str, seconds: float
) -> JobT:
    """Return a job as it is, or as soon as it has changed.

    Args:
        served: The kind of the job.
        settings: The address of Redis is taken from here.
        store: Where the jobs are.
        job_id: Id of the job.
        seconds: How long to wait for a change at most; 0 does not wait.

    Raises:
        ProblemError: 404, there is no such job.
    """

    def look() -> JobT:
        record = job_or_404(store, job_id)
        return placed(store, record, shown(served, record))

    return await until_changed(
        settings,
        store,
        job_id,
        look,
        is_over=lambda job: job.status in TERMINAL,
        compared=served.kind.progress_of,
        seconds=seconds,
    )


def cancel(served: ServedKind[Any, JobT], store: Store, job_id: str) -> Response:
    """Stop a job. Raises ProblemError 404 or 409."""
    job_or_404(store, job_id)
    if store.machine.cancel(job_id) == "finished":
        raise ProblemError(409, "job_finished", f"{job_id} is over already; there is nothing to cancel")
    return accepted(served, store, job_id)


def retry(served: ServedKind[Any, JobT], store: Store, job_id: str) -> Response:
    """Resume a failed or cancelled job. Raises ProblemError 404 or 409."""
    record = job_or_404(store, job_id)
    dataset = dataset_or_404(store, record.fields["dataset_id"])
    with content_lock(store, dataset.content_hash):
        dataset_or_404(store, dataset.id)
        _check_needs(store, record)
        if store.machine.retry(job_id) == "unfinished":
            raise ProblemError(
                409, "not_retryable", f"{job_id} is {record.status}; only failed and cancelled jobs can be retried"
            )
    return accepted(served, store, job_id)


def _check_needs(store: Store, record: JobRecord) -> None:
    """Raise ProblemError 409 where a job would begin anew from a job that was deleted meanwhile."""
    if record.stage not in (None, "preparing"):
        return  # What it needs of others was written down when it was prepared.
    for needed in record.json("needs") or ():
        try:
            store.jobs.get(needed)
        except NotFoundError as error:
            detail = f"{record.id} needs {needed}, which was deleted before {record.id} was prepared; start a new job"
            raise ProblemError(409, "not_retryable", detail, context={"job_id": needed}) from error


def accepted(served: ServedKind[Any, JobT], store: Store, job_id: str) -> Response:
    """Return the answer for a job that is on its way."""
    record = job_or_404(store, job_id)
    return Response(
        placed(store, record, shown(served, record)).model_dump_json(),
        202,
        headers={"Location": f"{served.kind.path}/{job_id}"},
        media_type="application/json",
    )


def delete(store: Store, job_id: str) -> None:
    """Delete a job with what only it holds. Raises ProblemError 404, or 409 while it runs or is needed."""
    record = job_or_404(store, job_id)
    with _unused(store, record.fields["dataset_id"]):
        try:
            delete_job(store, job_id)
        except NotFoundError:
            job_or_404(store, job_id)  # Another request was faster: there is nothing left to delete.
        except InUseError as error:
            if error.by == job_id:
                detail = f"{job_id} is {record.status}; cancel it, or wait for its end, and delete it then"
                raise ProblemError(409, "job_not_finished", detail, context={"job_id": job_id}) from error
            detail = f"{error.by} has not ended and needs {job_id}; cancel it, or wait for its end"
            raise ProblemError(409, "job_in_use", detail, context={"job_id": error.by}) from error


def _unused(store: Store, dataset_id: str) -> AbstractContextManager[None]:
    """Keep new jobs on a dataset from starting; where it was deleted there are none."""
    try:
        return content_lock(store, store.datasets.get(dataset_id).content_hash)
    except NotFoundError:
        return nullcontext()
