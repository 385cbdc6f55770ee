"""Uploads in parts: each is sent again by itself where a connection breaks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import Metadata, Request, Response
from minirec.api_schemas.rows import TimestampUnit

FileName = Literal["samples", "items", "prompts"]


class UploadCreate(Request):
    """Files that will be sent in parts: `samples` and `items`, or `prompts`."""

    files: Annotated[dict[FileName, Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=2)]
    """What messages call each file, such as its name on your disk."""
    name: Annotated[str | None, Field(max_length=200)] = None
    """A name of the dataset for people."""
    metadata: Metadata = {}
    """Kept with the dataset."""
    timestamp_unit: TimestampUnit | None = None
    """Unit of the samples' times; seconds unless given."""


class UploadPart(Response):
    """A part that is stored."""

    number: int
    """Parts of a file are joined by their numbers, from 0."""
    size: int
    """Bytes."""
    sha256: str
    """SHA-256 of its bytes, in hexadecimal digits."""


class Upload(Response):
    """An upload under way."""

    object: Literal["upload"] = "upload"
    """Always `upload`."""
    id: str
    """Identifies the upload; paths name it by this."""
    created_at: float
    """When it was begun, in seconds since 1970."""
    expires_at: float
    """When it is deleted, seconds since 1970: a day after its last part."""
    files: dict[FileName, list[UploadPart]]
    """What is stored of each file."""
    dataset_id: str | None = None
    """Once it is complete."""


class UploadComplete(Request):
    """Says that all is sent."""

    parts: dict[FileName, Annotated[int, Field(ge=1)]]
    """How many parts each file has: the service compares."""
