"""Route of models: what a tenant's jobs used, and the adapters that its training jobs left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query

from minirec.api_schemas import JOB_KINDS, TRAINING_JOB, AdapterReference, ModelReference, Page, UsedModel
from minirec.api_schemas.jobs import id_pattern
from minirec.service.dependencies import AFTER, Limit, StoreOf
from minirec.service.problems import invalid, problems
from minirec.store import Store

ADAPTER = "adapter_config.json"
"""One of the two files of an adapter, which are stored and removed together."""
FACTS = ("used_model", "created_at", "status", "finished_at", "artifacts")

router = APIRouter(prefix="/v1/models", tags=["models"], responses=problems(401, 422, 503))


@router.get("")
def list_models(
    store: StoreOf,
    limit: Limit = 20,
    after: Annotated[str | None, Query(pattern=id_pattern("mdl"), description=AFTER)] = None,
) -> Page[UsedModel]:
    """List the models that jobs used, and the adapters that training jobs left, newest first.

    A model is new when a job first used it. One that no job used is not here, and may be used all the same.
    """
    rows = sorted(_rows(store), key=lambda row: (row[0].created_at, row[0].id), reverse=True)
    start = 0
    if after is not None:
        start = next((place for place, (model, _) in enumerate(rows, start=1) if model.id == after), 0)
        if not start:
            raise invalid("invalid_cursor", ("query", "after"), f"no model {after} to list after")
    found: list[UsedModel] = []
    for model, blob in rows[start:]:
        if blob is None or store.blobs.exists(blob):
            found.append(model)
        if len(found) > limit:
            break
    has_more, data = len(found) > limit, found[:limit]
    return Page(data=data, has_more=has_more, next_after=data[-1].id if has_more else None)


def used_model(request: Any) -> str:
    """Return as JSON the model that a request for a job names, with its adapter; `null` where it needs none."""
    model, proxy = getattr(request, "model", None), getattr(request, "proxy", None)
    if model is not None and isinstance(proxy, AdapterReference):
        model = model.model_copy(update={"adapter": proxy})
    return "null" if model is None else str(model.model_dump_json())


def _rows(store: Store) -> Iterator[tuple[UsedModel, str | None]]:
    """Yield every model, and every trained adapter with the blob without which it is gone."""
    used: dict[str, UsedModel] = {}
    for kind in JOB_KINDS:
        for facts in store.jobs.facts(kind.name, *FACTS):
            reference = _reference(store, facts)
            if reference is None or facts["created_at"] is None:  # It needed none, or was deleted meanwhile.
                continue
            at = float(facts["created_at"])
            # How it is loaded is no other model.
            model_id = _id(reference.model_dump_json(exclude={"dtype"}))
            found = used.setdefault(
                model_id, UsedModel(id=model_id, model=reference, jobs=0, created_at=at, last_used_at=at)
            )
            found.jobs += 1
            found.created_at, found.last_used_at = min(found.created_at, at), max(found.last_used_at, at)
            blob = json.loads(facts["artifacts"] or "{}").get(ADAPTER)
            if kind is TRAINING_JOB and facts["status"] == "succeeded" and blob is not None:
                yield _trained(str(facts["id"]), reference, float(facts["finished_at"] or at)), blob
    for model in used.values():
        yield model, None


def _trained(job_id: str, base: ModelReference, at: float) -> UsedModel:
    return UsedModel(id=_id(job_id), model=base, training_job_id=job_id, jobs=1, created_at=at, last_used_at=at)


def _reference(store: Store, facts: dict[str, str | None]) -> ModelReference | None:
    """Return the model that a job used, null where it needed none."""
    stored = facts["used_model"]
    if stored is not None:
        return None if stored == "null" else ModelReference.model_validate_json(stored)
    # Releases before 0.2 have it in the request only.
    model, proxy = (store.jobs.request_field(str(facts["id"]), name) for name in ("model", "proxy"))
    if model is None:
        return None
    if proxy is not None and "source" in proxy:
        model = model | {"adapter": proxy}
    return ModelReference.model_validate(model)


def _id(text: str) -> str:
    return f"mdl_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
