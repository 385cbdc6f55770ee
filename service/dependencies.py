"""What routes ask for: the store, the settings, and parameters that many of them share."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request
from fastapi.routing import APIRoute

from minirec.settings import Settings
from minirec.store import Store
from service.problems import invalid


def _store(request: Request) -> Store:
    return cast(Store, request.app.state.store)


def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


StoreOf = Annotated[Store, Depends(_store)]
SettingsOf = Annotated[Settings, Depends(_settings)]


def only_known_parameters(request: Request) -> None:
    """Refuse misspelt query parameters: a filter that is ignored gives a wrong answer. Raises ProblemError 422."""
    known = {field.alias for field in cast(APIRoute, request.scope["route"]).dependant.query_params}
    for name in request.query_params:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise invalid("invalid_request", ("query", name), f"is not known here; the parameters are: {names}")


DATASET_ID = r"^ds_[0-9a-z]{1,40}$"
SELECTION_ID = r"^sel_[0-9a-z]{1,40}$"
TRAINING_JOB_ID = r"^trn_[0-9a-z]{1,40}$"

DatasetId = Annotated[str, Path(pattern=DATASET_ID, examples=["ds_01kb3q8x2m5v7n9p4r6t"])]
SelectionId = Annotated[str, Path(pattern=SELECTION_ID, examples=["sel_01kb3q8x2m5v7n9p4r6t"])]
TrainingJobId = Annotated[str, Path(pattern=TRAINING_JOB_ID, examples=["trn_01kb3q8x2m5v7n9p4r6t"])]
Limit = Annotated[int, Query(ge=1, le=100, description="Rows per page")]
