"""What `client.keys` asks and gives back."""

from __future__ import annotations

import json

import httpx2
import pytest

from minirec.client import NotFoundError, PermissionDeniedError, UnprocessableError
from tests.unit.client.scripted_service import Script, problem

pytestmark = pytest.mark.usefixtures("both_clients")

KEY = {"id": "key_1", "object": "api_key", "name": "ci", "scope": "read", "tenant": "one", "created_at": 1.0}


def test_create_sends_what_was_given_and_returns_the_key() -> None:
    service = Script(httpx2.Response(201, json=KEY | {"key": "key_1.secret"}))
    made = service.client().keys.create(name="ci", scope="read", tenant="one", expires_in_days=1.5)
    assert made.key == "key_1.secret"
    body = {"name": "ci", "scope": "read", "tenant": "one", "expires_in_days": 1.5}
    assert json.loads(service.requests[0].content) == body
    service = Script(httpx2.Response(201, json=KEY | {"key": "key_1.secret"}))
    service.client().keys.create(name="ci")
    assert json.loads(service.requests[0].content) == {"name": "ci", "scope": "write"}


def test_list_yields_keys_without_secrets() -> None:
    service = Script(httpx2.Response(200, json={"data": [KEY, KEY | {"id": "key_2"}], "has_more": False}))
    assert [key.id for key in service.client().keys.list()] == ["key_1", "key_2"]


def test_revoke_names_the_key() -> None:
    service = Script(httpx2.Response(200, json=KEY | {"revoked_at": 2.0}))
    assert service.client().keys.revoke("key_1").revoked_at == 2.0
    assert (service.requests[0].method, service.requests[0].url.path) == ("DELETE", "/v1/keys/key_1")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "insufficient_scope", PermissionDeniedError),
        (404, "key_not_found", NotFoundError),
        (422, "invalid_request", UnprocessableError),
    ],
)
def test_what_the_service_refuses_is_an_error_of_the_sdk(status: int, code: str, error: type[Exception]) -> None:
    service = Script(problem(status, code))
    with pytest.raises(error):
        service.client().keys.create(name="x", tenant="Not A Name")
