"""API keys: shown once, stored as hashes, with a scope, a tenant and an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from minirec.api_schemas.keys import SCOPES
from minirec.store.keys import KeyRecords
from tests.api.conftest import Service
from tests.api.test_problems import assert_problem

OPEN = {("get", "/version"), ("get", "/health/live"), ("get", "/health/ready")}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make(service: Service, **body: Any) -> dict[str, Any]:
    """Make a key with the operator's."""
    response = service.http.post("/v1/keys", json={"name": "test"} | body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def test_a_key_is_shown_once_and_only_its_hash_is_stored(service: Service) -> None:
    made = make(service, name="ci", scope="read")
    secret = made["key"].partition(".")[2]
    assert made["key"].startswith(f"{made['id']}.")
    assert len(secret) >= 43
    assert service.http.get("/v1/datasets", headers=bearer(made["key"])).status_code == 200
    listed = service.http.get("/v1/keys")
    assert secret not in listed.text
    assert [(row["id"], row["name"], row["scope"], row["tenant"]) for row in listed.json()["data"]] == [
        (made["id"], "ci", "read", "default")
    ]
    everything = b"".join(
        key + b"".join(cast("dict[bytes, bytes]", service.store.redis.hgetall(key)).values())
        for key in service.store.redis.scan_iter("*", _type="hash")
    )
    assert made["id"].encode() in everything
    assert secret.encode() not in everything


def test_an_idempotency_key_does_not_keep_the_secret(service: Service) -> None:
    headers = {"Idempotency-Key": "once"}
    made = [service.http.post("/v1/keys", json={"name": "x"}, headers=headers).json()["key"] for _ in range(2)]
    assert made[0] != made[1]
    values = [service.store.redis.get(key) for key in service.store.redis.scan_iter("*", _type="string")]
    assert not any(key.partition(".")[2].encode() in (value or b"") for key in made for value in values)


def wrong(key: str) -> list[str]:
    key_id, _, secret = key.partition(".")
    return [key[:-1], key + "x", f"{key_id}.", key_id, f".{secret}", secret, f"key_0.{secret}", f"{key_id}.{key_id}"]


def test_what_is_almost_a_key_is_none(service: Service) -> None:
    first, second = make(service)["key"], make(service)["key"]
    mixed = f"{first.partition('.')[0]}.{second.partition('.')[2]}"
    for given in (*wrong(first), mixed):
        assert_problem(service.http.get("/v1/datasets", headers=bearer(given)), 401, "unauthorized")


def test_a_revoked_key_ends_at_once_and_stays_listed(service: Service) -> None:
    made = make(service)
    for _ in range(2):
        revoked = service.http.delete(f"/v1/keys/{made['id']}")
        assert revoked.status_code == 200
        assert revoked.json()["revoked_at"] is not None
    assert_problem(service.http.get("/v1/datasets", headers=bearer(made["key"])), 401, "unauthorized")
    assert service.http.get("/v1/keys").json()["data"][0]["revoked_at"] == revoked.json()["revoked_at"]
    assert_problem(service.http.delete("/v1/keys/key_0000000000000000000z"), 404, "key_not_found")


def test_a_key_ends_when_it_expires(service: Service) -> None:
    made = make(service, expires_in_days=1)
    assert 86_000 < made["expires_at"] - time.time() <= 86_400
    assert service.http.get("/v1/datasets", headers=bearer(made["key"])).status_code == 200
    short = make(service, expires_in_days=0.5 / 86_400)
    time.sleep(0.6)
    response = service.http.get("/v1/datasets", headers=bearer(short["key"]))
    assert_problem(response, 401, "unauthorized")
    assert "expired" in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"name": "x", "scope": "root"},
        {"name": "x", "tenant": "A"},
        {"name": "x", "tenant": "a@b"},
        {"name": "x", "tenant": ""},
        {"name": "x", "expires_in_days": 0},
        {"name": "x", "expires_in_days": 4000},
        {"name": "x", "scopes": ["read"]},
    ],
)
def test_what_is_no_request_for_a_key_is_refused(service: Service, body: dict[str, Any]) -> None:
    assert_problem(service.http.post("/v1/keys", json=body), 422, "invalid_request")


def needed(method: str, path: str) -> str:
    """The scope that a route promises to ask for."""
    if path.startswith("/v1/keys"):
        return "admin"
    return "read" if method == "get" else "write"


def test_every_route_asks_for_its_scope(service: Service) -> None:
    """A key with less is refused before anything else is looked at; one with enough is not."""
    keys = {scope: make(service, scope=scope)["key"] for scope in SCOPES}
    document = service.http.get("/openapi.json").json()
    operations = [(method, path) for path, methods in document["paths"].items() for method in methods]
    refused = 0
    for method, path in operations:
        if (method, path) in OPEN:
            continue
        for scope, key in keys.items():
            where = path.replace("{", "").replace("}", "")  # Ids that fit no pattern: nothing is changed.
            response = service.http.request(method, where, headers=bearer(key))
            enough = SCOPES.index(scope) >= SCOPES.index(needed(method, path))
            assert (response.status_code == 403) is not enough, (method, path, scope, response.text)
            if not enough:
                refused += 1
                assert_problem(response, 403, "insufficient_scope")
                assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
                assert needed(method, path) in response.json()["detail"]
        assert "403" in document["paths"][path][method]["responses"], (method, path)
    assert refused > 20


def test_the_operator_s_keys_in_the_settings_may_do_everything(service: Service) -> None:
    assert service.http.get("/v1/keys").status_code == 200
    assert service.http.get("/metrics").status_code == 200


def test_a_tenant_s_admin_manages_the_tenant_s_keys_only(service: Service) -> None:
    own, other = make(service, tenant="one", scope="admin"), make(service, tenant="two", scope="admin")
    operators = make(service, scope="admin")
    headers = bearer(own["key"])
    made = service.http.post("/v1/keys", json={"name": "mine"}, headers=headers).json()
    assert (made["tenant"], made["scope"]) == ("one", "write")
    assert [row["id"] for row in service.http.get("/v1/keys", headers=headers).json()["data"]] == [
        made["id"],
        own["id"],
    ]
    for tenant in ("two", "default"):
        refused = service.http.post("/v1/keys", json={"name": "x", "tenant": tenant}, headers=headers)
        assert_problem(refused, 403, "insufficient_scope")
    for key in (other, operators):
        assert_problem(service.http.delete(f"/v1/keys/{key['id']}", headers=headers), 404, "key_not_found")
    assert service.http.get("/v1/datasets", headers=bearer(other["key"])).status_code == 200
    assert service.http.delete(f"/v1/keys/{made['id']}", headers=headers).status_code == 200
    assert len(service.http.get("/v1/keys", headers=bearer(operators["key"])).json()["data"]) == 4


def test_a_service_without_keys_makes_none_but_asks_for_those_that_were_made(
    make_service: Callable[..., Service],
) -> None:
    headers = {"Authorization": "", "Host": "localhost"}
    closed, open_ = make_service(), make_service(api_keys=())
    # The test client is no socket on this machine: see test_hosts.py for that check.
    open_.http.base_url = "http://127.0.0.1"
    assert_problem(open_.http.post("/v1/keys", json={"name": "x"}, headers=headers), 409, "no_operator_key")
    assert open_.http.get("/v1/datasets", headers=headers).status_code == 200
    made = make(closed)
    assert_problem(open_.http.get("/v1/datasets", headers=headers), 401, "unauthorized")
    assert open_.http.get("/v1/datasets", headers=headers | bearer(made["key"])).status_code == 200
    closed.http.delete(f"/v1/keys/{made['id']}")
    assert_problem(open_.http.get("/v1/datasets", headers=headers), 401, "unauthorized")


def test_hashes_are_compared_in_constant_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or compare(a, b))
    keys = KeyRecords(service.store.redis, service.store.prefix)
    made = keys.create(name="x", scope="read", tenant="default")
    assert keys.find(made.key) is not None
    assert keys.find("key_0.unknown") is None
    assert len(seen) == 2, "also for a key that is not there"
