"""Routes of webhooks: addresses that are told when jobs of a tenant end."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path
from fastapi.openapi.models import Example

from minirec.api_schemas import CreatedWebhook, Page, Webhook, WebhookCreate
from minirec.api_schemas.jobs import id_pattern
from minirec.service.dependencies import EXAMPLE_ID, SettingsOf, StoreOf
from minirec.service.outbound import RefusedAddress, check_address
from minirec.service.problems import ProblemError, invalid, problems
from minirec.store.errors import NotFoundError

MOST = 20
WebhookId = Annotated[str, Path(pattern=id_pattern("wh"), description="The webhook", examples=[f"wh_{EXAMPLE_ID}"])]
EXAMPLES: dict[str, Example] = {
    "all": {"summary": "Told of every job that ends", "value": {"url": "https://platform.example.com/hooks/minirec"}},
    "failures": {
        "summary": "Told of failures only",
        "value": {"url": "https://platform.example.com/hooks/failures", "statuses": ["failed"]},
    },
}

NewWebhook = Annotated[WebhookCreate, Body(openapi_examples=EXAMPLES)]

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=problems(401, 422, 503))


@router.post("", status_code=201, responses=problems(400, 409, 413))
def create_webhook(store: StoreOf, settings: SettingsOf, body: NewWebhook) -> CreatedWebhook:
    """Name an address that is told when jobs end. Its secret is in this answer and is never shown again.

    Messages are signed as Standard Webhooks says, and sent again for about two days until they are answered with 2xx.
    An `Idempotency-Key` has no effect here, since the secret would have to be kept for it.
    """
    try:
        check_address(body.url, allow_private=settings.webhook_private_addresses)
    except RefusedAddress as error:
        raise invalid("invalid_request", ("body", "url"), str(error)) from error
    if len(store.webhooks.all()) >= MOST:
        raise ProblemError(409, "too_many_webhooks", f"there are {MOST} webhooks already; delete one first")
    return store.webhooks.create(url=body.url, statuses=body.statuses)


@router.get("")
def list_webhooks(store: StoreOf) -> Page[Webhook]:
    """Webhooks, newest first, each with how the last attempt to tell it went."""
    return Page(data=store.webhooks.all(), has_more=False)


@router.delete("/{webhook_id}", status_code=204, responses=problems(404))
def delete_webhook(store: StoreOf, webhook_id: WebhookId) -> None:
    """Delete a webhook; what it has not been told yet is dropped."""
    try:
        store.webhooks.delete(webhook_id)
    except NotFoundError as error:
        raise ProblemError(404, "webhook_not_found", f"there is no webhook {webhook_id}") from error
