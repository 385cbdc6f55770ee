"""Pages of jobs: all of them with their queue and progress, and each one live."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from minirec.api_schemas import TERMINAL, Event, Job, kind_of
from minirec.service import jobs
from minirec.service.dependencies import StoreOf
from minirec.service.job_kinds import KINDS
from minirec.service.lookup import job_or_404
from minirec.service.page.explained import explained
from minirec.service.page.templating import PageRoute, page, see
from minirec.service.page.training import curves
from minirec.service.problems import ProblemError
from minirec.service.served_kind import ServedKind
from minirec.service.training_artifacts import WORDS
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.jobs import JobRecord

ROWS = 25
EVENTS = 200

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Progress:
    """How far a job is, as people want to know it."""

    done: int
    total: int
    unit: str
    elapsed: float | None
    """Seconds since it was started."""
    rate: float | None
    """Units per second in the current stage, without what was cached."""
    left: float | None
    """Seconds until the current stage is through, at that rate."""
    shards: tuple[int, int] | None
    """Done, and all, of the current stage."""
    ahead: int
    """Jobs of the same tenant that were there before, and have not ended."""


@router.get("/")
def overview(
    request: Request,
    store: StoreOf,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """Show the newest jobs: of all kinds together, or page by page those of one kind."""
    records: list[JobRecord] = []
    more = False
    for served in KINDS:
        if kind in (None, served.kind.name):
            try:
                found, more = store.jobs.page(served.kind.name, limit=ROWS, after=after if kind else None)
            except NotFoundError as error:
                raise ProblemError(422, "invalid_cursor", str(error)) from error
            records += found
    records = sorted(records, key=lambda record: float(record.fields["created_at"]), reverse=True)[:ROWS]
    waiting = unfinished(store, records)
    rows = [(view, progress(record, view, waiting)) for record in records if (view := view_of(record)) is not None]
    return page(
        request,
        "jobs.html",
        title="Jobs",
        rows=rows,
        names={job.dataset_id: dataset_name(store, job.dataset_id) for job, _ in rows},
        active=any(job.status not in TERMINAL for job, _ in rows),
        kinds=[served.kind for served in KINDS],
        kind=kind,
        next_after=records[-1].id if kind and more and records else None,
    )


def view_of(record: JobRecord) -> Job | None:
    """Return a job as its resource; None for one that another release stored and this one cannot show."""
    served = next((served for served in KINDS if served.kind.name == record.kind), None)
    if served is None:
        return None  # An upload that is checked: the datasets' page has it.
    try:
        found: Job = jobs.shown(served, record)
        return found
    except ProblemError:
        return None


def dataset_name(store: Store, dataset_id: str) -> str:
    try:
        return store.datasets.get(dataset_id).name or dataset_id
    except NotFoundError:
        return "a deleted dataset"


def unfinished(store: Store, shown: Sequence[JobRecord]) -> list[float]:
    """Return when each job was made that has not ended; none is looked for where no job that is shown waits."""
    if all(record.status != "queued" for record in shown):
        return []
    return [float(record.fields["created_at"]) for record in store.jobs.active()]


def progress(record: JobRecord, job: Any, waiting: Sequence[float] = ()) -> Progress:
    """Return how far a job is; `waiting` has when each job was made that has not ended."""
    group, now = record.group, time.time()
    total, done, cached = (group.total, group.progress, group.cached) if group else (0, 0, 0)
    if job.status == "succeeded":
        total = done = max(1, total)
    since = record.time("stage_at")
    running = job.status == "running" and since is not None
    computed = done - cached
    rate = computed / (now - since) if running and since is not None and computed > 0 and now > since else None
    ahead = 0
    if job.status == "queued":
        ahead = sum(at < job.created_at for at in waiting)
    ended = job.finished_at or now
    return Progress(
        done=done,
        total=total,
        unit={"embedding_catalogue": "items", "training": "updates", "training_proxy": "updates"}.get(
            job.stage or "", "samples"
        ),
        elapsed=None if job.started_at is None else ended - job.started_at,
        rate=rate,
        left=None if rate is None else (total - done) / rate,
        shards=(group.done, group.units) if group and job.status == "running" else None,
        ahead=max(0, ahead),
    )


@router.get("/jobs/{job_id}")
def one_job(request: Request, store: StoreOf, job_id: str) -> Response:
    """Show one job: live while it runs, explained once it is over."""
    try:
        kind_of(job_id)
    except ValueError as error:
        raise ProblemError(404, "not_found", str(error)) from error
    record = job_or_404(store, job_id)
    served = next(served for served in KINDS if served.kind.name == record.kind)
    job = jobs.shown(served, record)
    values: dict[str, Any] = {
        "title": f"{served.kind.title.capitalize()} {job_id}",
        "job": job,
        "kind": served.kind,
        "progress": progress(record, job, unfinished(store, [record])),
        "dataset_name": dataset_name(store, job.dataset_id),
        "stages": _stages(store, record),
        "events": [(event, WORDS[event.type](event.data)) for event in latest_events(store, job_id)],
        "terminal": job.status in TERMINAL,
        "asked": job.request.model_dump(mode="json", exclude_defaults=True),
        "explained": None,
        "curves": curves(store, job_id) if record.kind == "training_job" else None,
    }
    if record.kind == "selection" and job.status == "succeeded":
        values["explained"] = explained(store, job)
    return page(request, "job.html", **values)


def _stages(store: Store, record: JobRecord) -> list[tuple[str, str]]:
    """Return the stages of a job, each `done`, `now` or `later`."""
    names = store.jobs.stages(record.id)
    if record.status == "succeeded":
        return [(name, "done") for name in names]
    now = int(record.fields.get("stage_index", 0))
    return [(name, "done" if n < now else "now" if n == now else "later") for n, name in enumerate(names)]


def latest_events(store: Store, job_id: str) -> list[Event]:
    """Return the last events of a job that say more than how many samples are through, newest first."""
    found: list[Event] = []
    after = None
    while events := store.events.read(job_id, after=after, limit=1000):
        found = (found + [event for event in events if event.type not in ("progress", "metrics")])[-EVENTS:]
        after = events[-1].id
    return found[::-1]


@router.post("/jobs/{job_id}/cancel")
def cancel(store: StoreOf, job_id: str) -> Response:
    """Stop a job."""
    jobs.cancel(_served(store, job_id), store, job_id)
    return see(f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/retry")
def retry(store: StoreOf, job_id: str) -> Response:
    """Resume a job that failed or was cancelled."""
    jobs.retry(_served(store, job_id), store, job_id)
    return see(f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/delete")
def delete(store: StoreOf, job_id: str) -> Response:
    """Delete a job with what only it holds."""
    jobs.delete(store, job_id)
    return see("/")


def _served(store: Store, job_id: str) -> ServedKind[Any, Any]:
    try:
        name = kind_of(job_id).name
    except ValueError as error:
        raise ProblemError(404, "not_found", str(error)) from error
    job_or_404(store, job_id)
    return next(served for served in KINDS if served.kind.name == name)
