"""The routes of a kind of job: create, list, get, delete, cancel, retry, and its events.

Annotations are evaluated at once here (no `from __future__ import annotations`): those of the routes depend on the
kind.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from minirec.api_schemas import Page, Status
from minirec.service import events, jobs
from minirec.service.dependencies import AFTER, DATASET_ID, EXAMPLE_ID, Limit, SettingsOf, StoreOf, Wait
from minirec.service.idempotency import OnceOf
from minirec.service.metadata_filter import METADATA_PARAMETER, MetadataFilter
from minirec.service.problems import problems
from minirec.service.served_kind import ServedKind
from minirec.store.ids import new_id

StatusFilter = Annotated[Status | None, Query(description="Only jobs in this status")]
DatasetFilter = Annotated[str | None, Query(pattern=DATASET_ID, description="Only jobs on this dataset")]
EventLimit = Annotated[int, Query(ge=1, le=1000, description="Rows per page")]
AfterEvent = Annotated[str | None, Query(pattern=events.EVENT_ID, description="Only events behind this one")]
LastEventId = Annotated[str | None, Header(pattern=events.EVENT_ID, description="Where a broken stream resumes")]
Accept = Annotated[str, Header(include_in_schema=False)]


def job_router(served: ServedKind[Any, Any]) -> APIRouter:
    """Return the routes of a kind."""
    kind, text = served.kind, served.descriptions
    name, title = kind.name, kind.title
    one = f"/{{{name}_id}}"
    body_type: Any = Annotated[kind.request, Body(openapi_examples=served.examples)]
    job_id_type: Any = Annotated[
        str,
        Path(
            alias=f"{name}_id",
            pattern=kind.id_pattern,
            description=f"The {title}",
            examples=[f"{kind.prefix}_{EXAMPLE_ID}"],
        ),
    ]
    after_type: Any = Annotated[str | None, Query(pattern=kind.id_pattern, description=AFTER)]
    page_type: Any = Page[kind.resource]  # type: ignore[name-defined]
    router = APIRouter(prefix=kind.path, tags=[f"{title}s"], responses=problems(401, 422, 503))

    @router.post(
        "",
        name=f"create_{name}",
        description=text.create,
        status_code=202,
        response_model=kind.resource,
        responses=problems(*served.problems),
    )
    def create(body: body_type, store: StoreOf, settings: SettingsOf, once: OnceOf) -> Response:
        text = body.model_dump_json()

        def start() -> Response:
            job_id = once.job_id(text, new_id(served.kind.prefix))
            return jobs.create(served, store, settings, body, job_id=job_id)

        return once(text, start)

    @router.get(
        "",
        name=f"list_{name}s",
        description=f"{title.capitalize()}s, newest first.",
        response_model=page_type,
        openapi_extra=METADATA_PARAMETER,
    )
    def list_jobs(
        store: StoreOf,
        limit: Limit = 20,
        after: after_type = None,
        status: StatusFilter = None,
        dataset_id: DatasetFilter = None,
        metadata: MetadataFilter = None,
    ) -> Any:
        return jobs.page_of(
            served, store, limit=limit, after=after, status=status, dataset_id=dataset_id, metadata=metadata
        )

    @router.get(
        one,
        name=f"get_{name}",
        description=f"One {title}; with `wait`, as soon as it is no longer as it was when the request came.",
        response_model=kind.resource,
        responses=problems(404, 410),
    )
    async def get(store: StoreOf, settings: SettingsOf, job_id: job_id_type, wait: Wait = 0) -> Any:
        return await jobs.wait_for(served, settings, store, job_id, wait)

    @router.delete(one, name=f"delete_{name}", description=text.delete, status_code=204, responses=problems(404, 409))
    def delete(store: StoreOf, job_id: job_id_type) -> None:
        jobs.delete(store, job_id)

    @router.post(
        f"{one}/cancel",
        name=f"cancel_{name}",
        description=text.cancel,
        status_code=202,
        response_model=kind.resource,
        responses=problems(404, 409, 410),
    )
    def cancel(store: StoreOf, job_id: job_id_type, once: OnceOf) -> Response:
        return once("", lambda: jobs.cancel(served, store, job_id))

    @router.post(
        f"{one}/retry",
        name=f"retry_{name}",
        description=text.retry,
        status_code=202,
        response_model=kind.resource,
        responses=problems(404, 409, 410),
    )
    def retry(store: StoreOf, job_id: job_id_type, once: OnceOf) -> Response:
        return once("", lambda: jobs.retry(served, store, job_id))

    @router.get(
        f"{one}/events",
        name=f"get_{name}_events",
        description=text.events,
        response_model=None,
        responses=problems(404) | events.RESPONSES,
    )
    async def get_events(
        store: StoreOf,
        settings: SettingsOf,
        job_id: job_id_type,
        limit: EventLimit = 100,
        after: AfterEvent = None,
        last_event_id: LastEventId = None,
        accept: Accept = "",
    ) -> Any:
        if events.SSE in accept:
            return await events.answer_live(settings, store, job_id, last_event_id or after)
        return await run_in_threadpool(events.page, store, job_id, after, limit)

    return router
