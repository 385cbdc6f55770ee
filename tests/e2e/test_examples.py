"""The examples, run as they are, against a live stack. `make examples-test` runs those, too, that take longer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.builders import reward_package
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
only_when_asked = pytest.mark.skipif("MINIREC_EXAMPLES_TEST" not in os.environ, reason="make examples-test runs it")


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_every_example_is_listed_and_run() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert {name for name in files if f"({name})" not in (EXAMPLES / "README.md").read_text()} == set()
    assert {name for name in files if name not in Path(__file__).read_text().partition("\ndef test")[2]} == set()


def test_a_platform_is_told_and_takes_the_ids(stack: Stack, tmp_path: Path) -> None:
    """Runs rest_platform.py."""
    files = [str(stack.files / name) for name in ("samples.jsonl", "items.jsonl")]
    options = ["--model", "tiny", "--local", "--size", "0.25", "--max-new-tokens", "8"]
    where = {"MINIREC_BASE_URL": stack.url, "MINIREC_API_KEY": stack.key}
    ids = json.loads(run([str(EXAMPLES / "rest_platform.py"), *files, *options], tmp_path, **where))
    with stack.client() as client:
        selection = next(iter(client.selections.list()))
        assert ids == selection.subset().ids
    assert len(ids) == 12


@only_when_asked
def test_trl_trains_on_an_export_and_its_log_can_be_selected_by(stack: Stack, tmp_path: Path) -> None:
    """Runs trl_grpo.py, and then what the tutorial on rewards of own runs does with such a log."""
    with stack.client() as client:
        dataset = client.datasets.upload(prompts=stack.files / "prompts.jsonl")
        selection = client.selections.create(
            dataset=dataset,
            size=8,
            model={"source": "local", "id": "tiny"},
            rewards=[{"name": "digits", "weight": 2.0}],
            rollouts={"group_size": 4, "max_new_tokens": 24, "temperature": 1.0},
        )
        selection.wait(timeout=240)
        selection.export(format="trl", path=tmp_path / "for-trl", batch_size=4)
        order = selection.subset().ids
        model = str(stack.data_dir / "models" / "tiny")
        options = ["for-trl", "--model", model, "--cpu", "--max-new-tokens", "24", "--output", "run"]
        packages = tmp_path / "packages"
        packages.mkdir()
        here = {"PYTHONPATH": str(reward_package(packages))}
        printed = run([str(EXAMPLES / "trl_grpo.py"), *options], tmp_path, **here)
        assert len(re.findall(r"^step \d+: mean reward ", printed, re.MULTILINE)) == 2
        assert (tmp_path / "run" / "model" / "model.safetensors").exists()
        logs = sorted((tmp_path / "run" / "completions").glob("completions_*.parquet"))
        log = pd.concat(map(pd.read_parquet, logs))
        seen = log["minirec_id"].tolist()
        assert [name for n, name in enumerate(seen) if n == 0 or seen[n - 1] != name] == order
        rewards = [
            {"sample_id": name, "reward": rows["minirec_reward"].tolist()} for name, rows in log.groupby("minirec_id")
        ]
        signals = client.datasets.upload_signals(dataset, rewards=rewards)
        assert (signals.n_samples, signals.rollouts) == (8, 4)


def cells(notebook: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return found


def test_the_notebook_has_real_output() -> None:
    """Of select.ipynb: every cell that shows something has been run, none failed, and there is a picture."""
    code = [cell for cell in cells(EXAMPLES / "select.ipynb") if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert any("image/png" in output.get("data", {}) for output in outputs)


@only_when_asked
def test_the_notebook_runs(tmp_path: Path) -> None:
    """The cells of select.ipynb as one program, with a smaller pool."""
    code = ["".join(cell["source"]) for cell in cells(EXAMPLES / "select.ipynb") if cell["cell_type"] == "code"]
    (tmp_path / "notebook.py").write_text("\n\n".join(code))
    where = {"MPLBACKEND": "agg", "POOL": "80", "MINIREC_DATA_DIR": str(tmp_path / "stack")}
    printed = run(["notebook.py"], tmp_path, **where)
    assert "Picked as number" in printed
    assert len((tmp_path / "for-training" / "train.jsonl").read_text().splitlines()) == 8
    shutil.rmtree(tmp_path / "stack")
