"""Events of a job, in order; the data of each server-sent event."""

from __future__ import annotations

from typing import Any, Literal

from api_schemas.common import Response

EventType = Literal["status", "stage", "progress", "metrics", "evaluation", "warning", "retry", "error"]


class Event(Response):
    """Something that happened to a job."""

    id: str
    """Grows with time; send it as `Last-Event-ID` to resume from here."""
    type: EventType
    job_id: str
    at: float
    data: dict[str, Any] = {}
