"""Errors say what was wrong, where, and what to do."""

from __future__ import annotations

import httpx2
import pytest

from minirec import client as sdk
from minirec.api_schemas import Selection
from tests.unit.client.scripted_service import Script, problem, selection_json


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, sdk.BadRequestError),
        (401, sdk.AuthenticationError),
        (403, sdk.PermissionDeniedError),
        (404, sdk.NotFoundError),
        (409, sdk.ConflictError),
        (413, sdk.PayloadTooLargeError),
        (418, sdk.APIStatusError),
        (422, sdk.UnprocessableError),
        (429, sdk.RateLimitError),
        (500, sdk.InternalServerError),
        (599, sdk.InternalServerError),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[sdk.APIStatusError]) -> None:
    with pytest.raises(sdk.APIStatusError) as caught:
        Script(problem(status, code="why")).client(max_retries=0).selections.retrieve("sel_1")
    assert type(caught.value) is kind
    assert (caught.value.status_code, caught.value.code, caught.value.request_id) == (status, "why", "req_7")
    assert isinstance(caught.value, sdk.MiniRecError)


def test_faults_of_files_and_fields_are_listed_with_their_place() -> None:
    errors = [
        {"file": "samples.jsonl", "line": 17, "field": "target", "msg": "unknown item 'x'"},
        {"file": "items.jsonl.gz", "msg": "the gzip stream ends early"},
        {"loc": ["rollouts", "top_k"], "msg": "must not be negative", "type": "greater_than_equal"},
        {"loc": [], "msg": "not an object"},
    ]
    answer = problem(422, code="invalid_dataset", detail="240 faults", errors=errors, total_errors=240)
    answer.request = httpx2.Request("POST", "http://service.test/v1/datasets")
    assert str(sdk.errors.status_error(answer)).splitlines() == [
        "240 faults (422 invalid_dataset)",
        "  samples.jsonl:17 target: unknown item 'x'",
        "  items.jsonl.gz: the gzip stream ends early",
        "  rollouts.top_k: must not be negative",
        "  body: not an object",
        "  and 236 more",
        "  request id: req_7",
    ]


def test_faults_that_the_detail_names_are_not_said_twice() -> None:
    one = {"file": "s.csv", "line": 1, "msg": "comma-separated"}
    detail = "1 fault in the dataset: s.csv:1: comma-separated"
    error = sdk.errors.status_error(problem(422, code="invalid_dataset", detail=detail, errors=[one], total_errors=1))
    assert str(error).splitlines() == [f"{detail} (422 invalid_dataset)", "  request id: req_7"]
    two = [{"file": "s.jsonl", "line": 3, "field": "target", "msg": "missing"}, {"file": "i.jsonl", "msg": "empty"}]
    detail = "2 faults in the dataset: s.jsonl:3: target: missing; i.jsonl: empty"
    error = sdk.errors.status_error(problem(422, code="invalid_dataset", detail=detail, errors=two, total_errors=2))
    assert str(error).splitlines() == [
        "2 faults in the dataset (422 invalid_dataset)",
        "  s.jsonl:3 target: missing",
        "  i.jsonl: empty",
        "  request id: req_7",
    ]
    field = {"loc": ["body", "size"], "msg": "must be positive", "type": "value_error"}
    error = sdk.errors.status_error(problem(422, detail="body.size: must be positive", errors=[field]))
    assert str(error).count("must be positive") == 1


def test_a_long_list_of_faults_is_cut_in_the_text_only() -> None:
    errors = [{"file": "s", "line": line, "msg": "bad"} for line in range(100)]
    error = sdk.errors.status_error(problem(422, errors=errors, total_errors=100))
    assert len(error.errors) == 100
    assert len(str(error).splitlines()) == 1 + 10 + 2
    assert "and 90 more" in str(error)


def test_an_error_that_is_no_problem_document_keeps_what_it_said() -> None:
    error = sdk.errors.status_error(
        httpx2.Response(502, html="<h1>Bad\n Gateway</h1>", headers={"x-request-id": "req_p"})
    )
    assert str(error) == "<h1>Bad Gateway</h1> (502 http_502)\n  request id: req_p"
    assert error.request_id == "req_p"


def test_an_answer_of_another_service_is_named_as_such() -> None:
    service = Script(httpx2.Response(200, html="<html>welcome</html>"))
    with pytest.raises(sdk.APIResponseError, match=r"did not answer as a MiniRec service does.*Check the base URL"):
        service.client().selections.retrieve("sel_1")


def test_a_failed_job_tells_stage_reason_and_samples() -> None:
    error = {
        "code": "poison_shard",
        "message": "lost three workers",
        "stage": "scoring",
        "sample_ids": [f"s{i}" for i in range(8)],
    }
    selection = Selection.model_validate(selection_json("failed", error=error))
    assert str(sdk.JobFailedError(selection)) == (
        "selection sel_1 failed while scoring: lost three workers (poison_shard); "
        "samples: s0, s1, s2, s3, s4 and 3 more. A retry resumes from what is finished."
    )


def test_no_retry_is_advised_where_it_would_fail_in_the_same_way() -> None:
    error = {"code": "empty_selection", "message": "nothing to pick", "stage": "selecting", "retryable": False}
    selection = Selection.model_validate(selection_json("failed", error=error))
    assert str(sdk.JobFailedError(selection)) == (
        "selection sel_1 failed while selecting: nothing to pick (empty_selection). "
        "A retry fails in the same way until the cause is mended."
    )


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert sdk.errors.__doc__ is not None
    for name in set(sdk.__all__) - {"MiniRec", "AsyncMiniRec", "DatasetWarning", "RawResponse"}:
        assert issubclass(getattr(sdk, name), sdk.MiniRecError)
        assert name in sdk.errors.__doc__


@pytest.mark.parametrize(
    "odd", ["", "..", "../datasets/ds_1", "sel_1/../sel_2", "sel_1?x=1", "sel_1#", "sel_%2e", "sel 1", "é"]
)
def test_an_id_that_would_lead_elsewhere_is_not_sent(odd: str) -> None:
    script = Script(problem(404, code="why"))
    client = script.client(max_retries=0)
    for call in (client.selections.retrieve, client.selections.delete, client.datasets.delete):
        with pytest.raises(sdk.ConfigurationError, match="nothing was sent"):
            call(odd)
