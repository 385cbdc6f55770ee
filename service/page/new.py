"""The form for a new selection: what it asks for, what that will cost, and the same for command, SDK and curl."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, get_args

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams
from starlette.responses import Response

from minirec.api_schemas import Selection, SelectionCreate
from minirec.api_schemas.baselines import BASELINES
from minirec.api_schemas.messages import located
from minirec.api_schemas.selections import StratifyBy
from minirec.rewards.registry import known_rewards
from minirec.service import jobs
from minirec.service.dependencies import SettingsOf, StoreOf
from minirec.service.page.commands import commands
from minirec.service.page.templating import PageRoute, page, see
from minirec.service.problems import ProblemError
from minirec.service.selections import SELECTIONS
from minirec.service.views import selection_view
from minirec.settings import Settings
from minirec.store import Store

Fields = FormData | QueryParams
DEFAULTS = {"source": "hub", "size": "10%", "group_size": "4", "max_new_tokens": "256"}

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Forecast:
    """What a selection will cost, as far as it is known before it runs."""

    pool: int
    picked: int
    rollouts: int
    tokens: int
    """Most tokens that the model will write."""
    scored_before: str | None
    """A finished selection with the same scores: this one will take seconds."""
    per_sample: float | None
    """Seconds that a sample took in an earlier selection with the same model and settings."""
    from_job: str | None


@router.get("/new")
def form(request: Request, store: StoreOf, settings: SettingsOf) -> Response:
    """Show the form, and what it asks for as far as it is filled in."""
    given = request.query_params
    body: SelectionCreate | None = None
    faults: list[str] = []
    forecast = None
    if "dataset_id" in given:
        body, faults = read(given)
        if body is not None:
            try:
                forecast = forecast_of(store, settings, body)
            except ProblemError as error:
                faults = [str(error.detail)]
    page_of, _ = store.datasets.page(limit=100)
    found = [dataset for dataset in page_of if dataset.status == "ready"]
    values = {name: given.get(name, DEFAULTS.get(name, "")) for name in FIELDS}
    return page(
        request,
        "new.html",
        title="New selection",
        datasets=found,
        values=values,
        chosen={name: given.getlist(name) for name in ("baselines", "rewards")},
        baselines=list(BASELINES),
        rewards=known_rewards(),
        strata=get_args(StratifyBy),
        faults=faults,
        forecast=forecast,
        commands=None if body is None else commands(body, str(request.base_url).rstrip("/")),
    )


@router.post("/new")
async def start(request: Request, store: StoreOf, settings: SettingsOf) -> Response:
    """Start the selection that the form asks for."""
    body, faults = read(await request.form(max_files=0, max_fields=100))
    if body is None:
        raise ProblemError(422, "invalid_request", "; ".join(faults))
    return see(f"/jobs/{await run_in_threadpool(start_job, store, settings, body)}")


def start_job(store: Store, settings: Settings, body: SelectionCreate) -> str:
    """Start a selection, and return its id. Raises ProblemError."""
    answer = jobs.create(SELECTIONS, store, settings, body)
    return str(json.loads(bytes(answer.body))["id"])


FIELDS = (
    "dataset_id",
    "source",
    "model",
    "adapter",
    "size",
    "group_size",
    "max_new_tokens",
    "proxy_updates",
    "max_samples",
    "split",
    "stratify_by",
    "more",
)


def read(given: Fields) -> tuple[SelectionCreate | None, list[str]]:
    """Return the request that a filled-in form means, or what is wrong with it."""
    text = {name: str(given.get(name, "")).strip() for name in FIELDS}
    try:
        lists = ([str(name) for name in given.getlist(field)] for field in ("baselines", "rewards"))
        body = _body(text, *lists)
    except ValueError as error:
        return None, [str(error)]
    try:
        return SelectionCreate.model_validate(body), []
    except ValidationError as error:
        return None, faults_of(error, body)


def faults_of(error: ValidationError, body: object) -> list[str]:
    """Return what is wrong with a request, in words."""
    errors = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
    return [f"{'.'.join(map(str, loc[1:])) or 'the request'}: {words}" for loc, words, _ in located(errors, body)]


def _body(text: dict[str, str], baselines: list[str], rewards: list[str]) -> dict[str, Any]:
    """Return the fields as a request. Raises ValueError for a number that is none."""
    body: dict[str, Any] = {"dataset_id": text["dataset_id"], "size": size_of(text["size"])}
    if text["source"] == "signals":
        body["signals"] = "uploaded"
    elif text["model"]:
        body["model"] = {"source": text["source"] or "hub", "id": text["model"]}
        if text["adapter"]:
            body["model"]["adapter"] = {"source": text["source"] or "hub", "id": text["adapter"]}
    for name, place in (
        ("group_size", ("rollouts", "group_size")),
        ("max_new_tokens", ("rollouts", "max_new_tokens")),
        ("proxy_updates", ("proxy", "updates")),
        ("max_samples", ("pool", "max_samples")),
    ):
        if text[name]:
            body.setdefault(place[0], {})[place[1]] = _whole(name, text[name])
    if text["split"]:
        body.setdefault("pool", {})["split"] = text["split"]
    if text["stratify_by"]:
        body["stratify_by"] = text["stratify_by"]
    if baselines:
        body["baselines"] = baselines
    if rewards:
        body["rewards"] = [{"name": name} for name in rewards]
    if text["more"]:
        try:
            more = json.loads(text["more"])
        except ValueError as error:
            raise ValueError(f"further settings are not valid JSON: {error}") from error
        if not isinstance(more, dict):
            raise ValueError("further settings should be a JSON object, as the API takes them")
        for name, value in more.items():
            merged = isinstance(value, dict) and isinstance(body.get(name), dict)
            body[name] = body[name] | value if merged else value
    return body


def size_of(text: str) -> int | float:
    """Return `256`, `10%` or `0.1` as a size. Raises ValueError."""
    try:
        if text.isdecimal():
            return int(text)
        part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        part = math.nan
    if not 0 < part < 1:
        raise ValueError(f"size: {text!r} is not a number of samples (256) or a part of the pool (10%, 0.1)")
    return part


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{name.replace('_', ' ')}: {text!r} is not a whole number") from error


def forecast_of(store: Store, settings: Settings, body: SelectionCreate) -> Forecast:
    """Return what a selection will cost. Raises ProblemError for one that would be refused."""
    new = SELECTIONS.start(store, settings, body)
    pool = int(new.fields["pool_size"])
    picked = body.size if isinstance(body.size, int) else max(1, int(body.size * pool))
    rollouts = 0 if body.signals else pool * body.rollouts.group_size
    same, alike = _earlier(store, body)
    return Forecast(
        pool=pool,
        picked=picked,
        rollouts=rollouts,
        tokens=rollouts * body.rollouts.max_new_tokens,
        scored_before=None if same is None else same.id,
        per_sample=None if alike is None else _per_sample(alike),
        from_job=None if alike is None else alike.id,
    )


SCORES = {"dataset_id", "model", "proxy", "signals", "rewards", "profile", "pool", "rollouts", "texts"}
"""Fields of a request that decide the scores."""
PACE = {"model", "proxy", "rewards", "rollouts"}


def _earlier(store: Store, body: SelectionCreate) -> tuple[Selection | None, Selection | None]:
    """Return the newest finished selection with the same scores, and the newest that computed with like settings."""
    same = alike = None
    records, _ = store.jobs.page("selection", limit=50, status="succeeded")
    for record in records:
        try:
            found = selection_view(record)
        except ValidationError:
            continue  # Of another release.
        if same is None and found.request.model_dump(include=SCORES) == body.model_dump(include=SCORES):
            same = found
        like = found.request.model_dump(include=PACE) == body.model_dump(include=PACE)
        if alike is None and like and _per_sample(found) is not None:
            alike = found
    return same, alike


def _per_sample(job: Selection) -> float | None:
    """Return the seconds that a computed sample took, everything included; None where all was cached."""
    computed = job.counts.scored - job.counts.cached
    if computed <= 0 or job.started_at is None or job.finished_at is None:
        return None
    return (job.finished_at - job.started_at) / computed
