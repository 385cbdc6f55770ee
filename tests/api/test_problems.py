"""Whatever goes wrong, the answer is a problem document that says what, where, and under which request id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from minirec.api_schemas import FieldError, Problem, RowError
from tests.api.conftest import Service, selection_body


def assert_problem(response: Any, status: int, code: str) -> Problem:
    """A response that is a problem document; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code)
    assert problem.request_id == response.headers["x-request-id"]
    assert problem.detail
    return problem


def field_errors(problem: Problem) -> list[FieldError]:
    """The errors of a problem, all of which say where in a request they are."""
    errors = [error for error in problem.errors if isinstance(error, FieldError)]
    assert len(errors) == len(problem.errors)
    return errors


def row_errors(problem: Problem) -> list[RowError]:
    """The errors of a problem, all of which say where in a file they are."""
    errors = [error for error in problem.errors if isinstance(error, RowError)]
    assert len(errors) == len(problem.errors)
    return errors


def test_an_unknown_path_is_a_problem(service: Service) -> None:
    problem = assert_problem(service.http.get("/v2/nothing"), 404, "not_found")
    assert problem.instance == "/v2/nothing"


def test_an_unknown_method_is_a_problem_that_lists_the_known_ones(service: Service) -> None:
    response = service.http.put("/v1/datasets")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    assert service.http.patch("/v1/datasets/ds_1").headers["allow"] == "DELETE, GET"


def test_an_invalid_body_names_every_field_at_fault(service: Service) -> None:
    body = selection_body("ds_1", size=-3, rollouts={"group_size": 0, "nonsense": 1})
    problem = assert_problem(service.http.post("/v1/selections", json=body), 422, "invalid_request")
    places = {tuple(error.loc) for error in field_errors(problem)}
    assert {("body", "rollouts", "group_size"), ("body", "rollouts", "nonsense")} <= places
    assert any(place[:2] == ("body", "size") for place in places)
    assert "-3" not in problem.detail


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"", b'{"size": NaN}'])
def test_a_body_that_is_no_json_object_is_a_problem(service: Service, body: bytes) -> None:
    response = service.http.post("/v1/selections", content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "invalid_request")


@pytest.mark.parametrize("body", [b'{"size": "\xff"}', b'{"size": ' + b"1" * 5000 + b"}"])
def test_a_body_that_cannot_be_decoded_is_a_problem(service: Service, body: bytes) -> None:
    response = service.http.post("/v1/selections", content=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(response, 400, "bad_request")
    assert "the body cannot be read" in problem.detail


def test_numbers_beyond_all_bounds_are_a_problem(service: Service) -> None:
    body = json.dumps(selection_body("ds_1", weights={"alpha": "NUMBER"})).replace('"NUMBER"', "1e400")
    response = service.http.post("/v1/selections", content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/datasets/sel_1", "/v1/selections/ds_1", "/v1/selections/sel_1%0a"])
def test_a_malformed_id_is_told_from_an_unknown_one(service: Service, path: str) -> None:
    assert_problem(service.http.get(path), 422, "invalid_request")


def test_a_misspelt_parameter_is_not_ignored(service: Service) -> None:
    problem = assert_problem(service.http.get("/v1/selections?state=failed"), 422, "invalid_request")
    assert field_errors(problem)[0].loc == ["query", "state"]
    assert "after, dataset_id, limit, metadata[...], status" in problem.detail
    for url in ("/v1/selections/sel_1/cancel?force=1", "/v1/datasets?name=x"):
        assert_problem(service.http.post(url), 422, "invalid_request")


def test_unknown_ids_are_problems(service: Service) -> None:
    assert_problem(service.http.get("/v1/datasets/ds_1"), 404, "dataset_not_found")
    for path in ("", "/events", "/scores", "/subset"):
        assert_problem(service.http.get(f"/v1/selections/sel_1{path}"), 404, "selection_not_found")


def test_undecodable_paths_are_problems(service: Service) -> None:
    assert_problem(service.http.get("/v1/%ff%fe"), 404, "not_found")


def test_a_fault_of_our_own_tells_nothing_but_the_request_id(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *args: object, **kwargs: object) -> None:
        raise RuntimeError("the password is secret")

    monkeypatch.setattr(type(service.store.datasets), "get", broken)
    response = service.http.get("/v1/datasets/ds_1", headers={"X-Request-ID": "abc-1"})
    problem = assert_problem(response, 500, "internal_error")
    assert problem.request_id == "abc-1"
    assert "secret" not in response.text


def test_a_store_that_is_away_is_a_problem_worth_a_retry(make_service: Callable[..., Service]) -> None:
    service = make_service(redis_url="redis://127.0.0.1:1/0")
    response = service.http.get("/v1/datasets/ds_1")
    assert_problem(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "2"


def test_every_answer_has_a_request_id(service: Service) -> None:
    first, second = (service.http.get("/version").headers["x-request-id"] for _ in range(2))
    assert first != second
    kept = service.http.get("/version", headers={"X-Request-ID": "my.id_7-a"})
    assert kept.headers["x-request-id"] == "my.id_7-a"
    for unfit in ("a b", "x" * 200, 'a"b', ""):
        assert service.http.get("/version", headers={"X-Request-ID": unfit}).headers["x-request-id"] != unfit


def test_json_bodies_have_a_limit(service: Service) -> None:
    body = selection_body("ds_1", metadata={"a": "x" * (1 << 20)})
    assert_problem(service.http.post("/v1/selections", json=body), 413, "payload_too_large")
