"""Selections: what a request is checked for before one is started."""

from __future__ import annotations

from fastapi.openapi.models import Example

from minirec.api_schemas import SELECTION, Dataset, Selection, SelectionCreate
from minirec.data.pool import empty_pool, pool_size
from minirec.service.checks import check_engine_allowed, check_models_allowed, check_selection, check_strata
from minirec.service.jobs import shown
from minirec.service.lookup import dataset_or_404, job_or_404
from minirec.service.problems import invalid
from minirec.service.served_kind import Descriptions, NewJob, ServedKind, deletion
from minirec.service.views import selection_view
from minirec.settings import Settings
from minirec.specs import PrepareSelection
from minirec.store import Store

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

DESCRIPTIONS = Descriptions(
    create="Start selecting. The answer comes at once; follow the job by its events, or by asking for it with `wait`.",
    events="""Events of a selection, oldest first.

With `Accept: text/event-stream` they come live: first what has happened, then what happens, until the selection is
over.""",
    cancel="Stop a selection. Its finished shards stay: a retry, or another selection, starts from them.",
    retry="Resume a failed or cancelled selection, from what is finished.",
    delete=deletion("a selection", "its scores, its subset and its events"),
)


def start(store: Store, settings: Settings, body: SelectionCreate) -> NewJob[SelectionCreate]:
    """Check a request for a selection. Raises ProblemError."""
    dataset = dataset_or_404(store, body.dataset_id)
    check_selection(dataset, body, store.signals.get(dataset.id) if body.signals is not None else None)
    check_strata(store, dataset, body.stratify_by)
    pool = check_pool(dataset, body)
    check_models_allowed((body.model, body.model and body.model.adapter, body.proxy), settings)
    check_engine_allowed(body.rollouts, ("body", "rollouts"), settings)
    return NewJob(dataset, body, {"pool_size": str(pool)})


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


SELECTIONS = ServedKind(
    kind=SELECTION,
    summary="Jobs that score a pool and choose from it.",
    prepare=PrepareSelection,
    start=start,
    view=selection_view,
    examples=EXAMPLES,
    descriptions=DESCRIPTIONS,
)


def selection_or_404(store: Store, selection_id: str) -> Selection:
    """Return a selection. Raises ProblemError 404, or 410 for one that another release stored."""
    return shown(SELECTIONS, job_or_404(store, selection_id))
