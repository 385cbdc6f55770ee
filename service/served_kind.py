"""A kind of job as the service offers it: how one starts, how it is shown, and what its routes say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic

from fastapi.openapi.models import Example

from minirec.api_schemas import Dataset, JobKind
from minirec.api_schemas.job_kinds import JobT, RequestT
from minirec.service.limits import JSON_BYTES
from minirec.settings import Settings
from minirec.specs import PrepareSelection
from minirec.store import Store
from minirec.store.jobs import JobRecord


@dataclass(frozen=True)
class NewJob(Generic[RequestT]):
    """A job that may be started: everything about its request has been checked."""

    dataset: Dataset
    request: RequestT
    """With what it left to other resources filled in."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further fields of its record."""
    needs: tuple[str, ...] = ()
    """Ids of the jobs whose results it reads."""


@dataclass(frozen=True)
class Descriptions:
    """What the documentation says of a kind's routes, where the kinds differ."""

    create: str
    events: str
    cancel: str
    retry: str
    delete: str


def deletion(what: str, parts: str) -> str:
    """Return the description of a route that deletes a job."""
    return f"""Delete {what} with {parts}; what other jobs share stays.

Refused with 409 while it has not ended, or while a job that has not ended reads its result: the problem names that job.
Deleting what was deleted before, or never was, answers 404 and changes nothing."""


@dataclass(frozen=True)
class ServedKind(Generic[RequestT, JobT]):
    """A kind of job and the code behind its routes (service/job_routes.py)."""

    kind: JobKind[RequestT, JobT]
    summary: str
    """What jobs of this kind do, in a sentence."""
    prepare: type[PrepareSelection]
    """Spec of its first stage."""
    start: Callable[[Store, Settings, RequestT], NewJob[RequestT]]
    """Check a request. Raises ProblemError."""
    view: Callable[[JobRecord], JobT]
    examples: dict[str, Example]
    """Requests for the documentation."""
    descriptions: Descriptions
    max_body_bytes: int = JSON_BYTES
    """Size of the largest request to start one."""
    problems: tuple[int, ...] = (400, 403, 404, 409, 413)
    """Statuses with which a request to start one may be refused."""
