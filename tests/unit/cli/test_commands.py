"""What the commands ask of the service, print, and say when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from typer.testing import CliRunner, Result

from minirec.cli.connection import Connection
from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.main import app
from minirec.cli.options import pairs, parse_size, put_settings
from minirec.client import ConfigurationError
from tests.unit.client.scripted_service import Answer, Script, problem, selection_json
from tests.unit.client.test_client_resources import DATASET, ROW

RESULT = {
    "pool_size": 128,
    "selected": 8,
    "gated": {"too_hard": 40, "too_easy": 0},
    "backfilled": 0,
    "signal": {"policy": 100, "teacher": 28, "none": 0},
    "reward_mean": 0.05,
    "reward_std": 0.1,
    "selected_reward_mean": 0.09,
    "choice": "matching",
    "groups": 2,
    "outlook": {
        "gain": 0.01,
        "low": 0.0,
        "high": 0.02,
        "sets": 1,
        "runs": 5,
        "random_wasted": 0.4,
        "picked_wasted": 0.1,
        "text": "better than random, a little",
    },
    "warnings": ["nine in ten samples are gated"],
}
SCORE = {
    "id": "[s1]",
    "reward_mean": 0.5,
    "reward_std": 0.1,
    "rewards": [0.4, 0.6],
    "hit": [True, True],
    "pass_rate": 1.0,
    "learnability": 0.25,
    "learnability_raw": 0.3,
    "representativeness": None,
    "score": 0.25,
    "gate": "too_easy",
    "gate_value": 0.96,
    "signal": "policy",
    "picked_rank": 0,
    "training_position": 4,
}
DONE = selection_json("succeeded", result=RESULT, started_at=1.0, finished_at=66.0)


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str], *answers: Answer) -> tuple[Result, Script]:
    service = Script(*answers)
    monkeypatch.setattr(Connection, "client", lambda self: service.client(max_retries=0))
    return CliRunner().invoke(app, arguments), service


def answer(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def test_select_uploads_follows_and_says_what_to_do_next(monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
    options = ["--model", "org/model", "--size", "10%", "--pool-size", "64", "--max-new-tokens", "32"]
    options += ["--set", "weights.gate.enabled=false", "--metadata", "run=7"]
    counts = {"total": 128, "scored": 64, "cached": 32}
    result, service = run(
        monkeypatch,
        ["select", *files, *options],
        answer(DATASET, 201),
        answer(selection_json(), 202),
        answer(selection_json()),
        answer(selection_json("running", stage="embedding_catalogue", counts=counts)),
        answer(DONE),
    )
    assert result.exit_code == 0, result.output
    assert b'name="name"\r\n\r\ncds' in service.requests[0].content
    assert json.loads(service.requests[1].content) == {
        "dataset_id": "ds_1",
        "model": {"source": "hub", "id": "org/model"},
        "size": 0.1,
        "pool": {"max_samples": 64},
        "rollouts": {"max_new_tokens": 32},
        "weights": {"gate": {"enabled": False}},
        "metadata": {"run": "7"},
    }
    assert "embedding catalogue 64/128" in result.stderr
    assert "minirec subset sel_1 -o subset.jsonl" in result.stderr
    for part in (
        "8 of 128 in 2 curriculum groups",
        "40 too hard",
        "0.0900 picked",
        "1 min 5 s",
        "better than random",
        "nine in ten",
    ):
        assert part in result.stdout


def test_an_upload_names_the_unit_of_its_times_and_shows_what_looks_odd(
    monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    warned = DATASET | {"warnings": ["3 of 4 samples have a history item that is later than the target"]}
    arguments = ["datasets", "upload", *files, "--timestamp-unit", "ms"]
    result, service = run(monkeypatch, arguments, answer(warned, 201))
    assert result.exit_code == 0, result.output
    assert b'name="timestamp_unit"\r\n\r\nms' in service.requests[0].content
    assert "3 of 4 samples" in " ".join(result.stderr.split())
    result, _ = run(monkeypatch, [*arguments[:-1], "days"], answer(warned, 201))
    assert result.exit_code == 2


def test_select_can_leave_the_job_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["select", "--dataset", "ds_1", "--model", "org/model", "--size", "8", "--no-follow", "--json"]
    result, service = run(monkeypatch, arguments, answer(selection_json(), 202))
    assert json.loads(result.stdout)["id"] == "sel_1"
    assert len(service.requests) == 1


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(request: httpx2.Request) -> httpx2.Response:
        raise KeyboardInterrupt

    arguments = ["select", "--dataset", "ds_1", "--model", "org/model", "--size", "8"]
    result, service = run(monkeypatch, arguments, answer(selection_json(), 202), interrupt)
    assert result.exit_code == 130
    assert "sel_1 keeps running" in result.stderr
    assert "minirec status sel_1 --follow" in result.stderr
    assert "minirec cancel sel_1" in result.stderr
    assert [request.method for request in service.requests] == ["POST", "GET"], "the job was not cancelled"


def test_a_failed_job_ends_the_command_with_its_reason_and_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = selection_json("failed", error={"code": "worker_lost", "message": "no [model] here"})
    result, _ = run(monkeypatch, ["status", "sel_1", "--follow"], answer(failed))
    assert result.exit_code == 1
    assert "no [model] here (worker_lost)" in result.stderr
    assert "minirec retry sel_1" in result.stderr
    result, _ = run(monkeypatch, ["status", "sel_1"], answer(failed))
    assert result.exit_code == 0
    assert "no [model] here" in result.stdout
    assert "minirec retry sel_1 goes on from what is finished" in result.stdout


def test_a_job_that_would_fail_in_the_same_way_is_not_to_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"code": "empty_selection", "message": "nothing to pick", "retryable": False}
    result, _ = run(monkeypatch, ["status", "sel_1", "--follow"], answer(selection_json("failed", error=error)))
    assert result.exit_code == 1
    assert "fails in the same way until the cause is mended" in " ".join(result.stderr.split())
    assert "minirec retry" not in result.stderr
    result, _ = run(monkeypatch, ["status", "sel_1"], answer(selection_json("failed", error=error)))
    assert "it fails in the same way until the cause is mended" in result.stdout
    assert "minirec retry" not in result.stdout


def test_faulty_files_are_told_line_by_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    errors = [{"file": "cds.jsonl", "line": 1, "field": "target", "msg": "unknown item 'b'"}]
    refused = problem(422, code="invalid_dataset", detail="1 row is wrong", errors=errors)
    result, _ = run(monkeypatch, ["datasets", "upload", *files], refused)
    assert result.exit_code == 1
    assert "Error: 1 row is wrong (422 invalid_dataset)" in result.stderr
    assert "cds.jsonl:1 target: unknown item 'b'" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_an_absent_service_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, ["list"], httpx2.ConnectError("refused"))
    assert result.exit_code == 1
    assert "`minirec up` starts one" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "8"], "give --dataset, or files: --samples and --items, or --prompts"),
        (["--size", "8", "--model", "m", "--prompts", __file__], "say what an answer to a prompt earns with --reward"),
        (["--size", "lots", "--dataset", "ds_1"], "'lots' is not a number of samples"),
        (["--size", "8", "--dataset", "ds_1", "--set", "alpha=2"], "'alpha' is not SECTION.FIELD"),
        (["--size", "8", "--dataset", "ds_1", "--set", "weight.alpha=2"], "pool, rollouts, weights, curriculum"),
        (["--size", "8", "--dataset", "ds_1", "--metadata", "x"], "'x' is not KEY=VALUE"),
    ],
)
def test_wrong_options_are_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    result, service = run(monkeypatch, ["select", "--model", "org/model", *arguments], problem(500))
    assert result.exit_code == 2
    assert message in result.stderr
    assert service.requests == []


def test_a_dataset_is_shown_with_its_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, ["datasets", "show", "ds_1"], answer(DATASET | {"splits": {"train": 30, "none": 2}}))
    assert "train 30, none 2" in result.stdout
    result, _ = run(monkeypatch, ["datasets", "show", "ds_1"], answer(DATASET | {"splits": {"none": 32}}))
    assert "splits" not in result.stdout


def test_lists_are_tables_or_one_json_document(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"data": [selection_json(id="sel_2"), selection_json()], "has_more": True, "next_after": "c"}
    result, service = run(monkeypatch, ["list", "--limit", "2", "--json", "--status", "queued"], answer(jobs))
    assert [job["id"] for job in json.loads(result.stdout)] == ["sel_2", "sel_1"]
    assert len(service.requests) == 1
    assert service.requests[0].url.params["status"] == "queued"
    result, _ = run(monkeypatch, ["list"], answer(jobs | {"has_more": False}))
    assert "org/model (hub)" in result.stdout
    datasets = {"data": [DATASET | {"name": "[cds]"}], "has_more": False}
    result, _ = run(monkeypatch, ["datasets", "list"], answer(datasets))
    assert "[cds]" in result.stdout, "brackets are text, not markup"
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 80
    assert len(result.stdout.split("\n")) == 3, "one line a dataset"
    datasets = {"data": [DATASET | {"name": "\x1b]0;owned\x07\x1b[2Jcds\x9b1m"}], "has_more": False}
    result, _ = run(monkeypatch, ["datasets", "list"], answer(datasets))
    assert "owned\ufffd\ufffd[2Jcds\ufffd1m" in result.stdout, "a terminal obeys no name"
    assert "\x1b" not in result.stdout


def test_scores_show_the_picks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    result, service = run(monkeypatch, ["scores", "sel_1"], answer({"data": [SCORE], "has_more": False}))
    assert service.requests[0].url.params["order"] == "rank"
    assert " ".join(result.stdout.splitlines()[1].split()) == "1 [s1] 0.500 1.00 0.250 too easy (0.96) 5"


def test_a_subset_goes_to_a_file_by_its_ending_or_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = json.dumps(ROW).encode() + b"\n"
    result, service = run(monkeypatch, ["subset", "sel_1"], httpx2.Response(200, content=line))
    assert result.stdout_bytes == line
    for name, format in (("s.parquet", "parquet"), ("s.json", "ids"), ("s.jsonl", "jsonl")):
        target = tmp_path / name
        result, service = run(monkeypatch, ["subset", "sel_1", "-o", str(target)], httpx2.Response(200, content=line))
        assert (target.read_bytes(), service.requests[0].url.params["format"]) == (line, format)
    result, _ = run(monkeypatch, ["subset", "sel_1", "-o", "subset.csv"], problem(500))
    assert "subset.csv names no format" in result.stderr


def test_cancel_retry_show_and_delete_reach_their_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, method, path in (
        (["cancel", "sel_1"], "POST", "/v1/selections/sel_1/cancel"),
        (["retry", "sel_1", "--no-follow"], "POST", "/v1/selections/sel_1/retry"),
        (["datasets", "show", "ds_1"], "GET", "/v1/datasets/ds_1"),
        (["datasets", "delete", "ds_1"], "DELETE", "/v1/datasets/ds_1"),
    ):
        body: dict[str, Any] = DATASET if method == "GET" else selection_json()
        body = {"id": "ds_1", "deleted": True} if method == "DELETE" else body
        result, service = run(monkeypatch, arguments, answer(body))
        assert result.exit_code == 0, result.output
        assert (service.requests[0].method, service.requests[0].url.path) == (method, path)


@pytest.mark.parametrize(("text", "size"), [("256", 256), ("1", 1), ("10%", 0.1), ("0.5", 0.5), ("2.5%", 0.025)])
def test_sizes_are_counts_or_parts(text: str, size: float) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is type(size)


@pytest.mark.parametrize("text", ["0", "-3", "100%", "1.5", "0%", "nan", "ten", "", "%", "inf"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(text)


def test_settings_are_json_or_text_at_any_depth() -> None:
    body: dict[str, Any] = {"pool": {"seed": 1}}
    put_settings(body, ["pool.split=train", "weights.gate.enabled=false", "weights.alpha=2.5", "weights.sigma=null"])
    assert body == {
        "pool": {"seed": 1, "split": "train"},
        "weights": {"gate": {"enabled": False}, "alpha": 2.5, "sigma": None},
    }
    assert pairs(["a=b=c"]) == {"a": "b=c"}


def test_the_stack_that_runs_here_is_found_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = RunningStack("http://127.0.0.1:8123", "/data", "/models", 42, {}, "/data/key")
    folder = DataFolder.default()
    with folder.locked():
        folder.write_note(stack)
        assert Connection(None, None).client().base_url == stack.url
        assert Connection("http://other.test", None).client().base_url == "http://other.test"
        assert Connection("http://other.test", None).stack() is None
        assert Connection(stack.url + "/", None).stack() == stack, "named by its address, it is still the one here"
    with pytest.raises(ConfigurationError, match="no stack of yours runs in .*minirec up"):
        Connection(None, None).client()


def test_warnings_of_a_dataset_are_shown_with_it(monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
    odd = DATASET | {"warnings": ["3 [histories] end after their target"]}
    for arguments, status in ((["datasets", "upload", *files], 201), (["datasets", "show", "ds_1"], 200)):
        result, _ = run(monkeypatch, arguments, answer(odd, status))
        assert result.exit_code == 0
        assert "Warning: 3 [histories] end after their target" in result.stderr
        assert "DatasetWarning" not in result.stderr
    result, _ = run(monkeypatch, ["datasets", "show", "ds_1", "--json"], answer(odd))
    assert json.loads(result.stdout)["warnings"] == odd["warnings"]
    assert result.stderr == ""


def test_the_command_is_light_to_start() -> None:
    heavy = ("torch", "numpy", "celery", "redis", "pyarrow", "fastapi", "transformers", "matplotlib")
    code = f"import sys, minirec.cli.main; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "command", ["up", "demo", "select", "status", "scores", "subset", "cancel", "retry", "list", "datasets", "rewards"]
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    examples = [line for line in result.stdout.splitlines() if line.startswith("  minirec ")]
    assert all(line.count("minirec ") == 1 for line in examples), "one example a line"
    assert examples or command not in ("up", "select", "scores", "subset")
