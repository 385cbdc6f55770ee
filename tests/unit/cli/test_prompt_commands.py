"""What the commands do with prompts, and with the rewards that answers to them earn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minirec.cli.main import app
from tests.unit.cli.test_commands import answer, run
from tests.unit.client.scripted_service import selection_json
from tests.unit.client.test_client_resources import DATASET


@pytest.fixture
def prompts(tmp_path: Path) -> list[str]:
    (tmp_path / "sums.jsonl").write_text('{"id": "p1", "prompt": "1 + 1?", "answer": "2"}\n')
    return ["--prompts", str(tmp_path / "sums.jsonl")]


def test_select_takes_prompts_and_rewards(monkeypatch: pytest.MonkeyPatch, prompts: list[str]) -> None:
    rewards = [{"name": "exact_answer"}, {"name": "token_f1", "weight": 0.5}]
    made = selection_json(
        request={"dataset_id": "ds_1", "model": {"source": "hub", "id": "org/model"}, "size": 8, "rewards": rewards}
    )
    options = ["--reward", "exact_answer", "--reward", "token_f1=0.5", "--model", "org/model", "--size", "8"]
    result, service = run(
        monkeypatch,
        ["select", *prompts, *options, "--no-follow"],
        answer(DATASET | {"kind": "prompts"}, 201),
        answer(made, 202),
    )
    assert result.exit_code == 0, result.output
    assert b'name="prompts"; filename="sums.jsonl"' in service.requests[0].content
    assert b'name="name"\r\n\r\nsums' in service.requests[0].content
    assert json.loads(service.requests[1].content)["rewards"] == rewards
    assert "exact_answer + 0.5 token_f1" in result.stdout


def test_prompts_are_uploaded_and_their_kind_is_shown(monkeypatch: pytest.MonkeyPatch, prompts: list[str]) -> None:
    dataset = DATASET | {"kind": "prompts", "n_samples": 1, "n_items": 0, "n_users": 0}
    result, service = run(monkeypatch, ["datasets", "upload", *prompts, "--name", "sums"], answer(dataset, 201))
    assert b'name="prompts"; filename="sums.jsonl"' in service.requests[0].content
    shown = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert shown == ["id", "kind", "samples", "splits", "created"], "no items, no users"
    result, _ = run(monkeypatch, ["datasets", "list"], answer({"data": [DATASET], "has_more": False}))
    assert result.stdout.splitlines()[1].split()[:4] == ["ds_1", "interactions", "2", "3"]


@pytest.mark.parametrize("command", [["datasets", "upload"], ["select", "--size", "8", "--model", "org/model"]])
def test_files_of_both_kinds_or_of_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, files: list[str], prompts: list[str], command: list[str]
) -> None:
    for given in ([*files, *prompts], files[:2], files[2:], []):
        result, service = run(monkeypatch, [*command, *given], answer(DATASET))
        assert result.exit_code == 2, result.output
        assert "--samples and --items, or --prompts" in " ".join(result.stderr.split())
        assert service.requests == []


def test_a_weight_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["select", "--dataset", "ds_1", "--model", "org/model", "--size", "8", "--reward", "token_f1=half"]
    result, _ = run(monkeypatch, arguments, answer(DATASET))
    assert result.exit_code == 2
    assert "'half' is no weight for token_f1" in result.stderr


def test_rewards_are_listed_with_what_they_pay_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[minirec.rewards]\nbroken = nowhere:reward\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(app, ["rewards"])
    assert result.exit_code == 0, result.output
    names = [line.split()[0] for line in result.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert names == ["exact_title", "token_f1", "ranked_ndcg", "exact_answer", "math_answer", "broken"]
    text = " ".join(result.stdout.split())  # however wide the screen is
    assert "token_f1 F1 of the words" in text
    assert "cannot be loaded" in text
