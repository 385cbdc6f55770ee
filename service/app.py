"""The ASGI application: `uvicorn minirec.service.app:create_app --factory`."""

from __future__ import annotations

import re

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

import minirec.settings
from minirec import __version__
from minirec.logs import configure_logging
from minirec.service import (
    baselines,
    datasets,
    explanations,
    exports,
    keys,
    openapi,
    operations,
    plots,
    problems,
    resumable,
    rewards,
    score_table,
    scores,
    signals,
    subset,
    training_artifacts,
    used_models,
    webhooks,
)
from minirec.service.auth import require_admin, require_scope
from minirec.service.concurrency import InHand, count_requests
from minirec.service.dependencies import known_parameters_once
from minirec.service.hosts import HostCheck
from minirec.service.job_kinds import KINDS
from minirec.service.job_routes import job_router
from minirec.service.limits import BodyLimit, LargeBodies, uploads
from minirec.service.metrics import HttpMetrics, StoreMetrics
from minirec.service.page import app as page
from minirec.service.page import report
from minirec.service.probes import Throttled
from minirec.service.requests import RequestLog
from minirec.service.traces import Traces
from minirec.settings import Settings
from minirec.store import REQUEST_PATIENCE, Store, connect
from minirec.store.doorbell import CeleryRing, celery_app

DESCRIPTION = """
Which samples of a pool are worth training a recommender on, and in which order.

Upload a **dataset** (samples and their catalogue), start a **selection** with a model, follow it by its events, and
take back the **subset** in training order, or let a **training job** train on it. An **evaluation** tells how good a
model is on held-out samples. Lists are pages: pass `next_after` as
`after` to get the next. Every error is a problem document (RFC 9457) with a stable `code`.
"""

TAGS = [
    {"name": "datasets", "description": "Samples and the catalogue that they refer to."},
    *({"name": f"{served.kind.title}s", "description": served.summary} for served in KINDS),
    {"name": "results", "description": "What a finished selection measured and chose."},
    {"name": "models", "description": "What jobs used, and what training jobs left."},
    {"name": "rewards", "description": "What an answer to a prompt may earn."},
    {"name": "webhooks", "description": "Addresses that are told when jobs end."},
    {"name": "keys", "description": "Who may use the service, for which tenant, and how far."},
    {"name": "operations", "description": "For those who run the service."},
]


def create_app(settings: Settings | None = None, *, store: Store | None = None) -> FastAPI:
    """The service with these settings (the process's own by default), on a given store or the one they name."""
    settings = settings or minirec.settings.settings()
    configure_logging(settings.log_level)
    ring = CeleryRing(celery_app(settings), time_limit=settings.unit_time_limit)
    # Swagger UI and ReDoc are served from the package: people enter their keys there.
    app = FastAPIOffline(
        title="MiniRec",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.settings = settings
    app.state.store = store or connect(settings, ring=ring, patience=REQUEST_PATIENCE)
    app.state.stores = {}
    app.state.in_hand = InHand()
    app.state.blob_check = Throttled(app.state.store.blobs.check, seconds=operations.BLOB_CHECK_SECONDS)
    app.state.waiting = ring.waiting
    app.state.registry = CollectorRegistry()
    app.state.registry.register(StoreMetrics(app.state.store, ring.waiting))
    selected = (scores, score_table, explanations, plots, report, subset, baselines, exports)
    modules = (datasets, resumable, signals, *selected, training_artifacts, used_models, rewards, webhooks)
    routers = [*(module.router for module in modules), *(job_router(served) for served in KINDS)]
    for router in routers:
        app.include_router(
            router,
            dependencies=[Depends(require_scope), Depends(known_parameters_once), Depends(count_requests)],
            responses=problems.problems(403, 429),
        )
    app.include_router(keys.router, dependencies=[Depends(require_admin), Depends(known_parameters_once)])
    app.include_router(operations.router)
    page.install(app)
    problems.install(app)
    openapi.install(app)
    larger = uploads(routers, max_bytes=settings.max_upload_bytes)
    larger.append(LargeBodies(re.compile("/datasets"), settings.max_upload_bytes))
    larger.append(LargeBodies(re.compile(r"/v1/uploads/\w+/\w+/\d+"), resumable.PART_BYTES))
    larger += [LargeBodies(re.compile(served.kind.path), served.max_body_bytes) for served in KINDS]
    app.add_middleware(BodyLimit, larger=larger)
    app.add_middleware(HostCheck, allowed=settings.allowed_hosts, has_keys=bool(settings.api_keys))
    app.add_middleware(RequestLog, metrics=HttpMetrics(app.state.registry))
    # Added last: the outermost.
    app.add_middleware(Traces)
    return app
