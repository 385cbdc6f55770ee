"""Datasets: a pool of samples with its catalogue, or of prompts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from minirec.api_schemas.common import Metadata, Response, RowError

Kind = Literal["interactions", "prompts"]
DatasetStatus = Literal["processing", "ready", "failed", "cancelled"]


class DatasetProgress(Response):
    """How much of an upload's files was checked."""

    bytes_done: int
    """Of `bytes_total`, those that were checked."""
    bytes_total: int
    """Of the files as they were sent."""
    waiting: bool = False
    """Whether no worker has begun yet."""


class DatasetFailure(Response):
    """Why an upload is no dataset."""

    code: str
    """`invalid_dataset` where rows or files are at fault."""
    message: str
    """What was wrong, where, and what to do."""
    retryable: bool = False
    """Whether `POST /v1/datasets/{id}/retry` may help."""
    errors: list[RowError] = []
    """The first 100 faults."""
    total_errors: int = 0
    """How many faults there are in all."""


class Dataset(Response):
    """A dataset: once it is `ready`, every row was checked and all of it is stored."""

    id: str
    """Identifies the dataset; requests name it by this."""
    object: Literal["dataset"] = "dataset"
    """Always `dataset`."""
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
    """A name for people, as given with the upload; not unique."""
    created_at: float
    """When it was uploaded, in seconds since 1970."""
    n_samples: int
    """Rows of the samples file, or of the prompts file."""
    n_items: int
    """Items of the catalogue; 0 for prompts."""
    n_users: int
    """Distinct users among the samples; 0 for prompts, and where no sample names one."""
    splits: dict[str, int]
    """Samples per split; `none` counts the samples without one."""
    content_hash: str
    """SHA-256 over the rows, whatever file format they came in; and over the tenant's name, but for the operator's.

    Empty until the dataset is `ready`.
    """
    same_as: str | None = None
    """The earliest dataset of the same tenant that had the same rows at the upload, whatever its name and format; null
    where there was none. It may have been deleted since."""
    metadata: Metadata = {}
    """Key-value pairs that came with the upload."""
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
    """The dataset that is gone."""
    deleted: Literal[True] = True
    """Always true."""


class Signals(Response):
    """Rewards (and perhaps vectors and embeddings) that were measured elsewhere, for a dataset's samples."""

    object: Literal["signals"] = "signals"
    """Always `signals`."""
    dataset_id: str
    """The dataset whose samples were measured."""
    created_at: float
    """When they were uploaded, in seconds since 1970."""
    content_hash: str
    """SHA-256 over the signals and the dataset they belong to."""
    dataset_content_hash: str
    """`content_hash` of the dataset at the upload."""
    n_samples: int
    """Samples of the dataset that have rewards."""
    rollouts: int
    """Rewards per sample."""
    has_hits: bool
    """Whether each reward came with whether its rollout reached the goal."""
    vector_size: int | None = None
    """Numbers per vector; null where no vectors were uploaded."""
    embedding_size: int | None = None
    """Numbers per embedding; null where no embeddings were uploaded."""
