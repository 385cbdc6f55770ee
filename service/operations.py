"""Routes for operators: version, liveness, readiness, metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio
import structlog
from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import OutOfMemoryError
from starlette.responses import JSONResponse, Response

from minirec import __version__
from minirec.api_schemas import Health, Page, Version, Worker
from minirec.service.auth import require_operator
from minirec.service.problems import problems
from minirec.store import Store

log = structlog.get_logger(__name__)

CHECK_SECONDS = 5.0
BLOB_CHECK_SECONDS = 10.0
"""Pause between two checks of the blob store, which write to it; the answer is kept meanwhile."""

router = APIRouter(tags=["operations"])


@router.get("/version", name="get_version")
async def version() -> Version:
    """Return the version that runs here."""
    return Version(version=__version__)


@router.get("/health/live", name="get_liveness")
async def live() -> Health:
    """Tell whether the process runs; nothing else is asked."""
    return Health(status="ok")


@router.get("/health/ready", name="get_readiness", response_model=Health, responses={503: {"model": Health}})
async def ready(request: Request) -> Response:
    """Tell whether Redis and the blob store answer; 503 with what does not.

    The blob store is asked at most every ten seconds.
    """
    checks = {
        "redis": await _check("redis", partial(check_redis, request.app.state.store)),
        "blobs": await _check("blobs", request.app.state.blob_check),
    }
    healthy = all(answer == "ok" for answer in checks.values())
    health = Health(status="ok" if healthy else "unavailable", checks=checks)
    return JSONResponse(health.model_dump(), 200 if healthy else 503)


def check_redis(store: Store) -> None:
    """Write to Redis: one that is full, or read-only, answers a ping. Raises what Redis raises."""
    store.redis.set(f"{store.prefix}probe", "ok", ex=60)


async def _check(name: str, probe: Callable[[], object]) -> str:
    with anyio.move_on_after(CHECK_SECONDS):
        try:
            await anyio.to_thread.run_sync(probe, abandon_on_cancel=True)
        except Exception as error:  # Whatever it is, this process cannot do its work; the addresses go to the log only.
            log.warning("not_ready", check=name, error=str(error))
            if isinstance(error, OutOfMemoryError):
                return "its memory is full; see maxmemory"
            return f"failed ({type(error).__name__}); the log says more"
        return "ok"
    return f"no answer within {CHECK_SECONDS:.0f} seconds"


@router.get("/v1/workers", dependencies=[Depends(require_operator)], responses=problems(401, 403, 503))
def list_workers(request: Request) -> Page[Worker]:
    """List the workers that reported within the last minute, by name. Only keys of the operator get them."""
    return Page(data=request.app.state.store.workers.alive(), has_more=False)


@router.get(
    "/metrics",
    name="get_metrics",
    dependencies=[Depends(require_operator)],
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}, **problems(401, 403, 503)},
)
def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text format. They count all tenants' work: only keys of the operator get them."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
