"""Routes of API keys. Whoever may use them manages the keys of one tenant; the operator those of all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path
from fastapi.openapi.models import Example

from minirec.api_schemas import DEFAULT_TENANT, ApiKey, ApiKeyCreate, CreatedApiKey, Page
from minirec.api_schemas.jobs import id_pattern
from minirec.service.auth import Caller, CallerOf
from minirec.service.dependencies import EXAMPLE_ID, SettingsOf, StoreOf
from minirec.service.problems import ProblemError, problems
from minirec.store.errors import NotFoundError

KeyId = Annotated[str, Path(pattern=id_pattern("key"), description="The key", examples=[f"key_{EXAMPLE_ID}"])]
EXAMPLES: dict[str, Example] = {
    "write": {"summary": "A key of one's own tenant that may upload and start jobs", "value": {"name": "nightly"}},
    "tenant": {
        "summary": "The key with which another team's admin makes the rest, for 90 days",
        "value": {"name": "team two", "scope": "admin", "tenant": "team-two", "expires_in_days": 90},
    },
}

NewKey = Annotated[ApiKeyCreate, Body(openapi_examples=EXAMPLES)]

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=problems(401, 403, 422, 503))


@router.post("", status_code=201, responses=problems(400, 409, 413))
def create_key(
    store: StoreOf,
    settings: SettingsOf,
    caller: CallerOf,
    body: NewKey,
) -> CreatedApiKey:
    """Make a key. It is shown in this answer and never again: only its hash is stored.

    For the same reason an `Idempotency-Key` has no effect here; who lost the answer revokes the key and makes another.
    """
    if not settings.api_keys and not store.keys.any():
        raise ProblemError(
            409,
            "no_operator_key",
            "this service has no keys, and the first would lock everybody else out; start it with MINIREC_API_KEYS",
        )
    tenant = body.tenant or caller.tenant
    if tenant != caller.tenant and caller.tenant != DEFAULT_TENANT:
        raise ProblemError(403, "insufficient_scope", f"keys of tenant {caller.tenant!r} make keys of that tenant only")
    return store.keys.create(name=body.name, scope=body.scope, tenant=tenant, days=body.expires_in_days)


@router.get("")
def list_keys(store: StoreOf, caller: CallerOf) -> Page[ApiKey]:
    """Keys that may be managed, newest first, without their secrets; revoked and expired ones included."""
    return Page(data=store.keys.list(_tenant(caller)), has_more=False)


@router.delete("/{key_id}", responses=problems(404))
def revoke_key(store: StoreOf, caller: CallerOf, key_id: KeyId) -> ApiKey:
    """End a key, at once and for good. Its record stays in the list."""
    try:
        if _tenant(caller) in (None, store.keys.get(key_id).tenant):
            return store.keys.revoke(key_id)
    except NotFoundError:
        pass
    raise ProblemError(404, "key_not_found", f"there is no key {key_id}")


def _tenant(caller: Caller) -> str | None:
    """Return the tenant whose keys a caller manages, null for all."""
    return None if caller.tenant == DEFAULT_TENANT else caller.tenant
