"""What routes ask for: the store, the settings, and parameters that many of them share."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from minirec.api_schemas import SELECTION, TRAINING_JOB
from minirec.api_schemas.jobs import id_pattern
from minirec.service.auth import CallerOf
from minirec.service.problems import invalid
from minirec.settings import Settings
from minirec.store import Store
from minirec.store.tenants import store_of


async def _store(request: Request, caller: CallerOf) -> Store:
    """Return the store as the caller's tenant sees it: whatever a route looks up there is the caller's."""
    stores = cast("dict[str, Store]", request.app.state.stores)
    if caller.tenant not in stores:
        stores[caller.tenant] = store_of(request.app.state.store, caller.tenant)
    return stores[caller.tenant]


def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


StoreOf = Annotated[Store, Depends(_store)]
SettingsOf = Annotated[Settings, Depends(_settings)]


def known_parameters_once(request: Request) -> None:
    """Refuse query parameters that are misspelt or repeated: a filter that is ignored gives a wrong answer.

    Raises ProblemError 422. No parameter here is a list, and FastAPI takes the last of several.
    """
    route = cast(APIRoute, request.scope["route"])
    # Those in brackets are declared by hand: FastAPI knows no `metadata[run]=first` (service/metadata_filter.py).
    deep = {given["name"] for given in (route.openapi_extra or {}).get("parameters", ())}
    known = _query_parameters(route.dependant)
    for name in request.query_params:
        if name not in known and not (name.endswith("]") and name.partition("[")[0] in deep):
            names = ", ".join(sorted(known | {f"{one}[...]" for one in deep})) or "none"
            raise invalid("invalid_request", ("query", name), f"is not known here; the parameters are: {names}")
        if len(request.query_params.getlist(name)) > 1:
            raise invalid("invalid_request", ("query", name), "was sent more than once")


def _query_parameters(dependant: Dependant) -> set[str]:
    """Return the query parameters of a route, those that its dependencies take among them."""
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_query_parameters, dependant.dependencies))


EXAMPLE_ID = "01kb3q8x2m5v7n9p4r6t"
DATASET_ID = id_pattern("ds")

DatasetId = Annotated[str, Path(pattern=DATASET_ID, description="The dataset", examples=[f"ds_{EXAMPLE_ID}"])]
SelectionId = Annotated[
    str,
    Path(pattern=SELECTION.id_pattern, description="The selection", examples=[f"{SELECTION.prefix}_{EXAMPLE_ID}"]),
]
TrainingJobId = Annotated[
    str,
    Path(
        pattern=TRAINING_JOB.id_pattern,
        description="The training job",
        examples=[f"{TRAINING_JOB.prefix}_{EXAMPLE_ID}"],
    ),
]
AFTER = "Go on behind this one: `next_after` of the page before"
Limit = Annotated[int, Query(ge=1, le=100, description="Rows per page")]
MAX_WAIT_SECONDS = 60
Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to hold the answer until status, stage or progress change"),
]
