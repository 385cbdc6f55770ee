"""Page of what computes: the device, the queues, and how fast the jobs that run get on."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from starlette.responses import Response

from minirec.service.auth import require_operator
from minirec.service.dependencies import StoreOf
from minirec.service.page.jobs import progress, view_of
from minirec.service.page.templating import PageRoute, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/workers", dependencies=[Depends(require_operator)])
def workers(request: Request, store: StoreOf) -> Response:
    """Show what runs; the queues are everybody's, so only the operator sees them."""
    active = list(store.jobs.active())
    waiting = [float(record.fields["created_at"]) for record in active]
    rows = [(job, progress(record, job, waiting)) for record in active if (job := view_of(record))]
    return page(
        request,
        "workers.html",
        title="Workers",
        device=store.devices.last(),
        queues=_queues(request),
        memory=_memory(request),
        workers=store.workers.alive(),
        rows=rows,
    )


def _queues(request: Request) -> dict[str, int] | None:
    """Return how many shards wait in which queue; None where the broker does not say."""
    try:
        found: dict[str, int] = request.app.state.waiting()
        return found
    except (OperationalError, OSError, RedisError):
        return None


def _memory(request: Request) -> dict[str, Any]:
    info: dict[str, Any] = request.app.state.store.redis.info("memory")
    return {"used": int(info["used_memory"]), "limit": int(info.get("maxmemory", 0))}
