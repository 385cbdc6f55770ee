"""Building blocks shared by every message: strict models, pages, problem details."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from minirec.api_schemas.documented import described

T = TypeVar("T")

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""Up to 16 free key-value pairs that the service stores and returns untouched."""

LARGEST = 10**9
"""Of numbers that count something. What is computed of them then stays far below 2**53, and exact in every part of the
system, whatever language it is written in."""
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
WholeNumber = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What every library of random numbers takes."""
LARGEST_FLOAT = 1e30
Positive = Annotated[float, Field(ge=1e-30, le=LARGEST_FLOAT)]
"""A positive number that float32 holds, and its inverse, too."""
NonNegative = Annotated[float, Field(ge=0, le=LARGEST_FLOAT)]
AnyNumber = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]
"""A number whose square a float64 holds, and which a float32 holds, too."""


SHOWN_CHARACTERS = 300
"""Of one field, in a notebook."""


class Operational:
    """Marks a field, by `Annotated`, that decides how a result is computed and never which: time, memory, places.

    Such a field is left out of names and fingerprints (`minirec.specs.naming`).
    """

    def __repr__(self) -> str:
        return "OPERATIONAL"


OPERATIONAL = Operational()


class Request(BaseModel):
    """What a client sends: unknown fields and coerced types are errors."""

    # Validators are built when they are first used: importing the client takes a third less time.
    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, defer_build=True, json_schema_extra=described
    )


def _without_unknown_fields(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        unknown = [detail["loc"] for detail in error.errors() if detail["type"] == "extra_forbidden"]
        if not unknown:
            raise
        value = copy.deepcopy(value)
        for loc in unknown:
            holder = value
            for part in loc[:-1]:
                # Parts that are no key are names of a union's members.
                if not (isinstance(holder, dict) and part not in holder):
                    holder = holder[part]
            holder.pop(loc[-1], None)
        return validate(value)


Echo = Annotated[T, WrapValidator(_without_unknown_fields)]
"""A request as part of a response: fields that this version does not know are dropped, not refused."""


class Response(BaseModel):
    """What the service sends. Unknown fields are kept, so an older client survives a newer server."""

    model_config = ConfigDict(extra="allow", defer_build=True, json_schema_extra=described)

    def _repr_html_(self) -> str:
        """Return what notebooks show: the fields that have a value, one per row."""
        fields = self.model_dump(mode="json", exclude_none=True)
        shown = {name: _shown(name, value) for name, value in fields.items() if value not in ({}, [])}
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in shown.items())
        return f"<table><caption>{escape(type(self).__name__)}</caption>{rows}</table>"


def build_validators() -> None:
    """Build all validators now, as a service does before it listens, and not when they are first used."""
    models: list[type[BaseModel]] = [Request, Response]
    for model in models:
        models += model.__subclasses__()
        model.model_config["defer_build"] = False
        model.model_rebuild()


def _shown(name: str, value: Any) -> str:
    if name.endswith(("_at", "_finish")) and isinstance(value, int | float):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


class Page(Response, Generic[T]):
    """One page of a list, newest first unless the route says otherwise."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[T]
    """The rows of this page."""
    has_more: bool
    """Whether rows follow."""
    next_after: str | None = None
    """Pass as `after` to get the next page; null on the last one."""


class FieldError(Response):
    """One fault in a request body: where it is and what is wrong with it."""

    loc: list[str | int]
    """Where: `body`, `query`, `path` or `header`, then names of fields and indices."""
    msg: str
    """What is wrong, in words that continue the name of the field."""
    type: str | None = None
    """Machine-readable kind of fault, by pydantic's names; null where the service checked by itself."""


class RowError(Response):
    """One fault in an uploaded file."""

    file: str
    """Name of the file, as it was sent."""
    line: int | None = None
    """1-based line (JSONL) or row (Parquet); null when the fault is the whole file's."""
    field: str | None = None
    """The field at fault; null when the fault is the whole row's or file's."""
    msg: str
    """What is wrong."""


class Problem(Response):
    """An RFC 9457 problem document; the body of every error response."""

    type: str = "about:blank"
    """URI of the kind of problem; always `about:blank`, `code` tells kinds apart."""
    title: str
    """Phrase of the HTTP status."""
    status: int
    """HTTP status of the answer."""
    detail: str
    """What was wrong, where, and what to do."""
    instance: str | None = None
    """Path of the request."""
    code: str
    """Stable, machine-readable name of the problem, e.g. `invalid_dataset`."""
    errors: list[FieldError | RowError] = []
    """Every fault that was found, where there are several or where they have places."""
    total_errors: int | None = None
    """How many faults there were in all, when `errors` was cut short."""
    request_id: str | None = None
    """Names the request in the service's log; also in the header `X-Request-ID`."""
    context: dict[str, Any] = {}
    """Further facts by name, where a code has some."""
