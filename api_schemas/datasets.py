"""Datasets: a pool of samples with its catalogue, or of prompts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api_schemas.common import Metadata, Response, RowError

Kind = Literal["interactions", "prompts"]
DatasetStatus = Literal["processing", "ready", "failed", "cancelled"]


class DatasetProgress(Response):
    """How much of an upload's files was checked."""

    bytes_done: int
    bytes_total: int
    """Of the files as they were sent."""
    waiting: bool = False
    """Whether no worker has begun yet."""


class DatasetFailure(Response):
    """Why an upload is no dataset."""

    code: str
    """`invalid_dataset` where rows or files are at fault."""
    message: str
    retryable: bool = False
    """Whether `POST /v1/datasets/{id}/retry` may help."""
    errors: list[RowError] = []
    """The first 100 faults."""
    total_errors: int = 0


class Dataset(Response):
    """A dataset: once it is `ready`, every row was checked and all of it is stored."""

    id: str
    object: Literal["dataset"] = "dataset"
    kind: Kind = "interactions"
    """`interactions`: histories and targets of a catalogue. `prompts`: texts to answer."""
    status: DatasetStatus = "ready"
    """Large uploads are `processing` until a worker has checked them; counts and hash are known when they are `ready`.
    """
    progress: DatasetProgress | None = None
    """While it is `processing`."""
    failure: DatasetFailure | None = None
    """Once it is `failed`."""
    name: str | None = None
    created_at: float
    n_samples: int
    n_items: int
    n_users: int
    splits: dict[str, int]
    """Samples per split; `none` counts the samples without one."""
    content_hash: str
    """SHA-256 over the rows, whatever file format they came in; and over the tenant's name, but for the operator's.

    Empty until the dataset is `ready`.
    """
    metadata: Metadata = {}
    warnings: list[str] = []
    """What looked odd in the upload and was no fault, in whole sentences."""


class DatasetRows(Response):
    """Some rows of a dataset, in its order."""

    object: Annotated[Literal["list"], Field(description="Kind of object", examples=["list"])] = "list"
    data: Annotated[
        list[dict[str, Any]],
        Field(description="Samples or prompts as they were uploaded", examples=[[{"id": "u7-3", "target": "m31"}]]),
    ]
    titles: Annotated[
        dict[str, str],
        Field(
            description="By item id, titles of the targets, and of the 20 most recent items of each history",
            examples=[{"m31": "Crimson Tide"}],
        ),
    ] = {}
    has_more: Annotated[bool, Field(description="Whether rows follow", examples=[True])]
    next_after: Annotated[
        int | None, Field(description="Pass as `after` to get the next page; null on the last one", examples=[19])
    ] = None


class DatasetDeleted(Response):
    """Confirms a deletion."""

    id: str
    deleted: Literal[True] = True


class Signals(Response):
    """Rewards (and perhaps vectors and embeddings) that were measured elsewhere, for a dataset's samples."""

    object: Literal["signals"] = "signals"
    dataset_id: str
    created_at: float
    content_hash: str
    dataset_content_hash: str
    n_samples: int
    """Samples of the dataset that have rewards."""
    rollouts: int
    """Rewards per sample."""
    has_hits: bool
    vector_size: int | None = None
    embedding_size: int | None = None
