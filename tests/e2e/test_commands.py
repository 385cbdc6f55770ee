"""The commands as a user runs them, against a whole stack: nouns, names, explanations, pictures, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from minirec.cli import output
from minirec.cli.main import app
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

MODEL = ["--model", "tiny", "--set", "rollouts.max_new_tokens=8", "--set", "rollouts.seed=11"]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for console in (output.notes, output.results):
        monkeypatch.setattr(console, "width", 80)


def minirec(stack: Stack, *arguments: str, code: int = 0) -> str:
    """Run a command, and return its standard output; of one that fails, what it says of it."""
    environment = {"MINIREC_DATA_DIR": str(stack.data_dir), "HF_HUB_OFFLINE": "1"}
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def document(stack: Stack, *arguments: str) -> Any:
    return json.loads(minirec(stack, *arguments, "--json"))


@pytest.fixture(scope="module")
def selections(stack: Stack) -> list[str]:
    """Two selections from a dataset that only this module names."""
    files = ["--samples", str(stack.files / "samples.jsonl"), "--items", str(stack.files / "items.jsonl")]
    document(stack, "datasets", "upload", *files, "--name", "by commands")
    first = document(stack, "select", "--dataset", "by commands", *MODEL, "--size", "12", "--baseline", "random")
    assert first["worker_seconds"] > 0
    assert first["status"] == "succeeded"
    second = document(stack, "selections", "create", "--dataset", "by commands", *MODEL, "--size", "6")
    return [first["id"], second["id"]]


def test_names_and_nouns(stack: Stack, selections: list[str]) -> None:
    listed = document(stack, "selections", "list", "--dataset", "by commands")
    assert [job["id"] for job in listed] == selections[::-1]
    assert set(selections) <= {job["id"] for job in document(stack, "jobs", "list", "--limit", "100")}
    assert document(stack, "datasets", "show", "by commands")["name"] == "by commands"
    assert all(each in minirec(stack, "scores", "by commands", code=1) for each in selections)
    shown = minirec(stack, "jobs", "show", selections[0])
    assert "of workers' time" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_a_selection_is_understood(stack: Stack, selections: list[str], tmp_path: Path) -> None:
    one, other = selections
    rows = document(stack, "scores", one, "--limit", "1000")
    for row in (rows[0], rows[-1]):
        found = document(stack, "explain", one, row["id"])
        assert (found["score"]["id"], found["reason"] in ("picked", "backfilled")) == (row["id"], "picked_rank" in row)
        assert found["why"] in " ".join(minirec(stack, "explain", one, row["id"]).split())
    profile = document(stack, "profile", one, "-o", str(tmp_path / "profile.jsonl"))
    assert (profile["pool"]["samples"], profile["picked"]["samples"]) == (len(rows), 12)
    assert sum(profile["pool"]["rewards"]) == profile["pool"]["rollouts"] == 4 * len(rows)
    both = document(stack, "compare", one, other)
    picks = [set(json.loads(minirec(stack, "subset", name, "--format", "ids"))["ids"]) for name in selections]
    assert both["shared"] == len(picks[0] & picks[1])
    assert set(both["sides"][0]["only"]) == picks[0] - picks[1]
    assert both["jaccard"] == pytest.approx(both["shared"] / len(picks[0] | picks[1]), abs=1e-6)
    assert document(stack, "compare", one, "random")["sides"][1]["picked"] == 12
    drawn = minirec(stack, "plot", one)
    assert "mean reward" in drawn
    assert max(map(len, drawn.splitlines())) <= 80
    for name in ("plot.png", "plot.svg", "plot.html"):
        minirec(stack, "plot", one, "-o", str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 1000


def test_doctor_sees_the_stack_and_its_workers(stack: Stack) -> None:
    found = {each["name"]: each for each in document(stack, "doctor")["findings"]}
    assert found["stack here"]["facts"]["url"] == stack.url
    assert any("gpu" in worker for worker in found["stack here"]["facts"]["workers"])
    assert found["service"]["state"] == "ok"
    assert "tiny" in found["local models"]["facts"]["models"]
