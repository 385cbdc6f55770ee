"""Webhooks: addresses that are told when jobs end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import Request, Response

Ending = Literal["succeeded", "failed", "cancelled"]
"""How a job can end."""
ENDINGS: tuple[Ending, ...] = ("succeeded", "failed", "cancelled")


class WebhookCreate(Request):
    """An address to tell. It gets a POST for every job of the tenant that ends in one of `statuses`.

    The checking of a large upload counts as a job: `dataset.succeeded` says that the dataset is ready.
    """

    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/?#@]+([/?]\S*)?$")]
    """An https address that is reached from the service."""
    statuses: Annotated[list[Ending], Field(min_length=1, max_length=3)] = list(ENDINGS)
    """What to tell of."""


class Delivery(Response):
    """The last attempt to tell."""

    at: float
    """Seconds since 1970."""
    status: int | None = None
    """HTTP status of the answer; null where there was none."""
    error: str | None = None
    """Why there was none, or why nothing was sent."""


class Webhook(Response):
    """An address that is told."""

    object: Literal["webhook"] = "webhook"
    """Always `webhook`."""
    id: str
    """Identifies the webhook."""
    url: str
    """The address that is told."""
    statuses: list[Ending]
    """Ends of jobs that it is told of."""
    created_at: float
    """When it was made, in seconds since 1970."""
    last_delivery: Delivery | None = None
    """Null before the first attempt."""


class CreatedWebhook(Webhook):
    """A webhook that was just made, with the secret that its messages are signed with."""

    secret: str
    """Shown here only. Any library of Standard Webhooks verifies signatures with it."""


class JobEnded(Response):
    """What a webhook is sent."""

    type: str
    """Kind and status, such as `selection.succeeded`."""
    timestamp: str
    """When the job ended, ISO 8601 in UTC."""
    data: dict[str, str]
    """`id` and `object` of the job, or of the dataset that was checked, its `status` and `dataset_id`."""
