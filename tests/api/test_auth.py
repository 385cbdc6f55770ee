"""Nothing but health, version and the documentation answers without a key, where keys are set."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import KEY, Service
from tests.api.test_problems import assert_problem

OPEN = {"/version", "/health/live", "/health/ready"}


def operations(service: Service) -> list[tuple[str, str]]:
    """Every method and path that the OpenAPI document lists, with some id in place of parameters."""
    paths = service.http.get("/openapi.json").json()["paths"]
    return [
        (method, re.sub(r"{dataset_id}", "ds_1", path).replace("{selection_id}", "sel_1"))
        for path, methods in paths.items()
        for method in methods
    ]


def test_every_operation_but_the_open_ones_wants_a_key(service: Service) -> None:
    found = operations(service)
    assert len(found) >= 16
    for method, path in found:
        response = service.http.request(method, path, headers={"Authorization": ""})
        if path in OPEN:
            assert response.status_code == 200, path
        else:
            assert response.status_code in (401, 422), (method, path, response.status_code)
            if response.status_code == 422:  # Only a missing body may be noticed before the key.
                assert (method, path) == ("post", "/v1/selections")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", f"bearer  {KEY} x"]
)
def test_a_wrong_key_is_refused(service: Service, header: str) -> None:
    response = service.http.get("/v1/datasets", headers={"Authorization": header})
    assert_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text


def test_keys_beyond_ascii_are_compared_not_crashed_on(service: Service) -> None:
    assert_problem(
        service.http.get("/v1/datasets", headers={b"Authorization": "Bearer schlüssel".encode("latin-1")}),
        401,
        "unauthorized",
    )


def test_each_of_several_keys_is_accepted(make_service: Callable[..., Service]) -> None:
    service = make_service(api_keys="first-key, second-key")
    for key in ("first-key", "second-key"):
        assert service.http.get("/v1/datasets", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert service.http.get("/v1/datasets").status_code == 401


def test_without_keys_everything_is_open(make_service: Callable[..., Service]) -> None:
    service = make_service(api_keys=())
    headers = {"Authorization": "", "Host": "localhost"}
    http = TestClient(service.app, base_url="http://127.0.0.1")
    assert http.get("/v1/datasets", headers=headers).status_code == 200
