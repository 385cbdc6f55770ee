"""The page as a part of the application."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

from minirec.service.auth import require_scope
from minirec.service.page import actions, datasets, jobs, new, samples, sign_in, workers
from minirec.service.page.templating import STATIC


def install(app: FastAPI) -> None:
    """Serve the page at `/`."""
    for module in (jobs, new, datasets, samples, actions, workers):
        app.include_router(module.router, dependencies=[Depends(require_scope)])
    app.include_router(sign_in.router)
    app.mount("/assets", StaticFiles(directory=STATIC), name="assets")
