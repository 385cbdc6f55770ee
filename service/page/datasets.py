"""Pages of datasets: a list, a form to upload, and a look into the rows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from minirec.service import datasets, processing
from minirec.service.dependencies import StoreOf
from minirec.service.idempotency import OnceOf
from minirec.service.page.templating import PageRoute, page, see
from minirec.service.problems import ProblemError
from minirec.service.uploads import DATASET, read_form
from minirec.store.errors import NotFoundError

ROWS = 20

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/datasets")
def listed(request: Request, store: StoreOf, after: Annotated[str | None, Query(max_length=60)] = None) -> Response:
    """List datasets, newest first."""
    try:
        found, more = store.datasets.page(limit=ROWS, after=after)
    except NotFoundError as error:
        raise ProblemError(422, "invalid_cursor", str(error)) from error
    shown = [processing.shown(store, dataset) for dataset in found]
    return page(
        request,
        "datasets.html",
        title="Datasets",
        datasets=shown,
        next_after=found[-1].id if more and found else None,
    )


@router.post("/datasets")
async def upload(request: Request, store: StoreOf, once: OnceOf) -> Response:
    """Take the files of a form, as the API does, without the parts that were left empty."""
    form = await read_form(request, DATASET)
    try:
        parts = [(name, value) for name, value in form.multi_items() if not _is_empty(value)]
        dataset = await datasets.upload_form(FormData(parts), store, once)
    finally:
        await form.close()
    return see(f"/datasets/{dataset.id}")


def _is_empty(value: UploadFile | str) -> bool:
    """Return whether a browser sent a part for a field that nobody filled in."""
    return not value.filename and not value.size if isinstance(value, UploadFile) else not value.strip()


@router.get("/datasets/{dataset_id}")
def look(
    request: Request,
    store: StoreOf,
    dataset_id: str,
    start: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """Show a dataset, and some of its rows."""
    dataset = processing.current(store, dataset_id)
    if dataset.status != "ready":
        return page(request, "unready.html", title=dataset.name or dataset.id, dataset=dataset)
    rows = datasets.dataset_rows(store, dataset, start=start, limit=ROWS)
    return page(
        request,
        "dataset.html",
        title=dataset.name or dataset.id,
        dataset=dataset,
        rows=rows,
        start=start,
        following=start + ROWS if rows.has_more else None,
        before=max(0, start - ROWS) if start else None,
    )
