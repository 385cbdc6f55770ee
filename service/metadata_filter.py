"""The query parameter of lists of jobs that filters by metadata: `?metadata[run]=first`.

This is OpenAPI's `deepObject`, which clients in other languages are generated for; a name with a dot in it, which
differs from key to key, no document can declare. FastAPI does not read such parameters: it is done here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError

from minirec.api_schemas import Metadata
from minirec.api_schemas.messages import explained
from minirec.service.problems import invalid

_NAME = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_metadata = TypeAdapter(Metadata)

METADATA_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "required": False,
            "style": "deepObject",
            "explode": True,
            "description": "Only jobs with these pairs among their metadata, each as `metadata[key]=value`",
            "schema": _metadata.json_schema(),
            "examples": {"run": {"value": {"run": "first"}}},
        }
    ]
}


def _filter(request: Request) -> dict[str, str]:
    """Return the pairs to look for. Raises ProblemError 422."""
    wanted: dict[str, str] = {}
    for name, value in request.query_params.items():
        if found := _NAME.fullmatch(name):
            wanted[found[1]] = value
    try:
        return _metadata.validate_python(wanted)
    except ValidationError as error:
        raise invalid("invalid_request", ("query", "metadata"), explained(error.errors()[0])) from error


MetadataFilter = Annotated[dict[str, str] | None, Depends(_filter)]
