"""Routes of selections: start, look up, list, cancel, retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.openapi.models import Example
from starlette.responses import Response

from api_schemas import Dataset, Page, Selection, SelectionCreate, Status
from minirec.data.pool import empty_pool, pool_size
from minirec.settings import Settings
from minirec.specs import PrepareSelection
from minirec.store import Store
from minirec.store.ids import new_id
from service.content import content_lock
from service.dependencies import DATASET_ID, SELECTION_ID, Limit, SelectionId, SettingsOf, StoreOf
from service.idempotency import OnceOf
from service.jobs import Wait, accepted, cancel, check_models_allowed, page_of, retry, wait_for
from service.kinds import check_selection, check_strata
from service.lookup import dataset_or_404
from service.problems import invalid, problems
from service.views import selection_view

KIND = "selection"

EXAMPLES: dict[str, Example] = {
    "hub": {
        "summary": "A tenth of the pool, scored with a model of the Hugging Face hub",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "model": {"source": "hub", "id": "Qwen/Qwen3-0.6B"},
            "size": 0.1,
        },
    },
    "local": {
        "summary": "1,024 samples of the train split, scored with a local model and its adapter",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "model": {"source": "local", "id": "policy", "adapter": {"source": "local", "id": "policy-lora"}},
            "size": 1024,
            "pool": {"split": "train"},
            "rollouts": {"group_size": 8},
            "metadata": {"run": "first"},
        },
    },
    "prompts": {
        "summary": "256 prompts of a prompt dataset, by what the model's answers earn",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "model": {"source": "hub", "id": "Qwen/Qwen3-0.6B"},
            "rewards": [{"name": "exact_answer"}],
            "size": 256,
        },
    },
}

NewSelection = Annotated[SelectionCreate, Body(openapi_examples=EXAMPLES)]

router = APIRouter(prefix="/v1/selections", tags=["selections"], responses=problems(401, 422, 503))


@router.post("", status_code=202, response_model=Selection, responses=problems(400, 403, 404, 409, 413))
def create_selection(body: NewSelection, store: StoreOf, settings: SettingsOf, once: OnceOf) -> Response:
    """Start selecting. The answer comes at once; follow the job by its events, or by asking for it with `wait`."""
    return once(body.model_dump_json(), lambda: _start(store, settings, body))


def _start(store: Store, settings: Settings, body: SelectionCreate) -> Response:
    dataset = dataset_or_404(store, body.dataset_id)
    check_selection(dataset, body, store.signals.get(dataset.id) if body.signals is not None else None)
    check_strata(store, dataset, body.stratify_by)
    pool = check_pool(dataset, body)
    check_models_allowed((body.model, body.model and body.model.adapter, body.proxy), settings)
    selection_id = new_id("sel")
    prepare = PrepareSelection(job_id=selection_id).stage("preparing")
    fields = {
        "request": body.model_dump_json(),
        "dataset_id": dataset.id,
        "pool_size": str(pool),
    }
    with content_lock(store, dataset.content_hash):
        dataset_or_404(store, dataset.id)  # It may have been deleted since.
        # A fresh id can only be taken by this same call, re-sent by the Redis client after a broken connection.
        store.machine.create(selection_id, KIND, fields, [prepare])
    return accepted(store, selection_id, selection_view)


def check_pool(dataset: Dataset, body: SelectionCreate) -> int:
    """Return how many samples may be selected, as the worker will draw them. Raise ProblemError 422."""
    pool = pool_size(dataset.splits, body.pool.split)
    if pool == 0:
        detail = f"{dataset.id} {empty_pool(dataset.splits, body.pool.split)}"
        raise invalid("empty_pool", ("body", "pool", "split"), detail)
    if body.pool.max_samples is not None:
        pool = min(pool, body.pool.max_samples)
    if isinstance(body.size, int) and body.size > pool:
        raise invalid(
            "size_too_large",
            ("body", "size"),
            f"is {body.size}, and the pool has {pool} samples; ask for at most that, or for a part like 0.1",
        )
    return pool


@router.get("")
def list_selections(
    store: StoreOf,
    limit: Limit = 20,
    after: Annotated[str | None, Query(pattern=SELECTION_ID)] = None,
    status: Status | None = None,
    dataset_id: Annotated[str | None, Query(pattern=DATASET_ID)] = None,
) -> Page[Selection]:
    """Selections, newest first."""
    return page_of(store, KIND, selection_view, limit=limit, after=after, status=status, dataset_id=dataset_id)


@router.get("/{selection_id}", responses=problems(404))
async def get_selection(store: StoreOf, settings: SettingsOf, selection_id: SelectionId, wait: Wait = 0) -> Selection:
    """One selection; with `wait`, as soon as it is no longer as it was when the request came."""
    return await wait_for(settings, store, selection_id, selection_view, wait)


@router.post("/{selection_id}/cancel", status_code=202, response_model=Selection, responses=problems(404, 409))
def cancel_selection(store: StoreOf, selection_id: SelectionId, once: OnceOf) -> Response:
    """Stop a selection. Its finished shards stay: a retry, or another selection, goes on from them."""
    return once("", lambda: cancel(store, selection_id, selection_view))


@router.post("/{selection_id}/retry", status_code=202, response_model=Selection, responses=problems(404, 409))
def retry_selection(store: StoreOf, selection_id: SelectionId, once: OnceOf) -> Response:
    """Go on with a failed or cancelled selection, from what is finished."""
    return once("", lambda: retry(store, selection_id, selection_view))
