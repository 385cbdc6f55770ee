"""A process of a training run, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from minirec.api_schemas.models import ModelReference
from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings
from minirec.policy.reference import resolve
from minirec.training.process import specification
from minirec.training.runs import RecGrpoRun
from minirec.training.settings import RunSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_a_process_that_cannot_train_says_why_and_logs_where(
    dataset_files: tuple[Path, Path], models_root: Path, rollouts: RolloutSettings, tmp_path: Path
) -> None:
    run = RecGrpoRun(
        model=resolve(ModelReference(source="local", id="tiny"), models_root=models_root),
        samples=dataset_files[0],
        items=dataset_files[1],
        settings=RunSettings(
            rows=[0, 1],
            rollouts=rollouts.model_copy(update={"max_new_tokens": 8000}),
            grpo=GrpoSettings(),
            updates=1,
            out=tmp_path,
        ),
    )
    content = specification("rec_grpo", run.model_dump(mode="json"), log_level="INFO", log_context={"unit": 7})
    (tmp_path / "specification.json").write_text(content)
    command = [sys.executable, "-m", "minirec.training.process", str(tmp_path / "specification.json")]
    pipe = subprocess.PIPE
    with (
        open(tmp_path / "log", "wb") as log,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, cwd=ROOT) as process,
    ):
        assert process.stdout is not None
        (line,) = process.stdout.read().splitlines()
        assert process.wait() == 1
    error = json.loads(line)
    assert (error["event"], error["code"]) == ("error", "training_failed")
    assert "exceeds the model's 2048 positions. Lower max_new_tokens." in error["message"]
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert (logged[-1]["event"], logged[-1]["unit"], logged[-1]["rank"]) == ("training_process_failed", 7, 0)
    assert "Traceback" in logged[-1]["exception"]
