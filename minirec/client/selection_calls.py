"""The calls behind `client.selections`, and how their answers are understood."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel

from api_schemas import (
    TERMINAL,
    AdapterReference,
    CurriculumSettings,
    Event,
    ModelReference,
    PoolSettings,
    ProxySettings,
    RolloutSettings,
    Selection,
    Status,
    WeightSettings,
)
from minirec.client.core import PAGE, Call
from minirec.client.errors import JobCancelledError, JobFailedError, WaitTimeoutError

Model = ModelReference | Mapping[str, Any] | str
Pool = PoolSettings | Mapping[str, Any]
Rollouts = RolloutSettings | Mapping[str, Any]
Weights = WeightSettings | Mapping[str, Any]
Curriculum = CurriculumSettings | Mapping[str, Any]
Proxy = ProxySettings | AdapterReference | Mapping[str, Any]
Order = Literal["pool", "rank"]
SubsetFormat = Literal["ids", "jsonl", "parquet"]

SCORES_PAGE = 1000
LONG_POLL = 30.0
"""Seconds that the service may hold a request of `wait` until something changes."""
SILENCE = 60.0
"""Seconds without so much as a ping after which a stream of events counts as broken."""
IDLE_PAUSE = 1.0
"""Seconds before asking again where nothing had changed, in case the service does not hold requests."""


def create(
    *, dataset: str, model: Model | None, size: int | float, metadata: Mapping[str, str] | None, **settings: object
) -> Call:
    """`POST /v1/selections`; the service checks the settings, unset ones keep its defaults."""
    reference = {"source": "hub", "id": model} if isinstance(model, str) else model
    body: dict[str, object] = {"dataset_id": dataset, "size": size}
    settings |= {"model": reference, "metadata": dict(metadata) if metadata else None}
    body |= {name: plain(value) for name, value in settings.items() if value is not None}
    return Call("POST", "/v1/selections", json=body)


def plain(value: object) -> object:
    """Settings as JSON, without what their author left unset."""
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def retrieve(selection_id: str) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}")


def poll(selection_id: str, seconds: float) -> Call:
    """A `retrieve` that the service holds until something changes."""
    held = min(LONG_POLL, seconds)
    return Call("GET", f"/v1/selections/{selection_id}", params={"wait": f"{held:.3f}"}, read_timeout=held + LONG_POLL)


def page(after: str | None, status: Status | None, dataset: str | None) -> Call:
    return Call(
        "GET", "/v1/selections", params={"limit": PAGE, "after": after, "status": status, "dataset_id": dataset}
    )


def act(selection_id: str, verb: Literal["cancel", "retry"]) -> Call:
    return Call("POST", f"/v1/selections/{selection_id}/{verb}")


def scores(selection_id: str, after: str | None, order: Order) -> Call:
    params = {"limit": SCORES_PAGE, "after": after, "order": order}
    return Call("GET", f"/v1/selections/{selection_id}/scores", params=params)


def subset(selection_id: str, format: SubsetFormat) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/subset", params={"format": format}, headers={"Accept": "*/*"})


def stream_events(selection_id: str, after: str | None) -> Call:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = after
    return Call("GET", f"/v1/selections/{selection_id}/events", headers=headers, read_timeout=SILENCE)


def is_last(event: Event) -> bool:
    """Whether no event follows this one, unless somebody retries the job."""
    return event.type == "status" and event.data.get("status") in TERMINAL


def finished(selection: Selection) -> bool:
    """Whether the job has its result; raises `JobFailedError` or `JobCancelledError` where it never will."""
    if selection.status == "failed":
        raise JobFailedError(selection)
    if selection.status == "cancelled":
        raise JobCancelledError(selection)
    return selection.status == "succeeded"


def changed(before: Selection, now: Selection) -> bool:
    return (before.status, before.stage, before.counts) != (now.status, now.stage, now.counts)


class Deadline:
    """The end of a `wait`."""

    def __init__(self, timeout: float | None, now: float) -> None:
        self.timeout = timeout
        self.end = None if timeout is None else now + timeout

    def left(self, selection: Selection, now: float) -> float:
        """Seconds left; raises `WaitTimeoutError` when there are none."""
        if self.end is None or self.timeout is None:
            return LONG_POLL
        if now >= self.end:
            raise WaitTimeoutError(selection, self.timeout)
        return self.end - now


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once it is complete; a broken download leaves nothing."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with scratch.open("wb") as file:
            yield file
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
