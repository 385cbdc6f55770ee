"""What a type checker says of a user's script: every planted mistake, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from minirec import AsyncMiniRec, MiniRec


def main() -> None:
    with MiniRec.local() as client:
        dataset = client.datasets.upload("samples.jsonl", "items.jsonl")
        selection = client.selections.create(dataset=dataset, model="org/model", size=0.1)
        if selection.wait(progress=True).result is not None:
            print(selection.result.selected)  # MISTAKE union-attr
        for score in selection.scores(order="rank", limit=10):
            print(score.learnability + 1.0)
        for page in client.selections.list(dataset=dataset).pages():
            print(page.data[0].refresh().estimated_finish)
        job = client.training_jobs.create(selection=selection).wait()
        print(job.updates_done + 1, job.artifacts()[0].bytes + 1)
        print(client.selections.retrieve("sel_1").reslt)  # MISTAKE attr-defined
        client.selections.create(dataset=dataset, size="10%")  # MISTAKE arg-type


async def later() -> None:
    async with await AsyncMiniRec.local() as client:
        selection = await client.selections.retrieve("sel_1")
        async for score in selection.scores():
            print(score.id)
        print((await selection.refresh()).counts.scored + 1)
        print(selection.wait().status)  # MISTAKE attr-defined
"""


@pytest.mark.slow
def test_a_users_script_is_checked_by_the_installed_package(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "script.py"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = [line.split(":", 3) for line in done.stdout.splitlines() if ": error:" in line]
    planted = [
        (number, line.rpartition("MISTAKE ")[2])
        for number, line in enumerate(SCRIPT.splitlines(), 1)
        if "MISTAKE" in line
    ]
    assert [(int(line), text.rpartition("[")[2].rstrip("]")) for _, line, _, text in found] == planted, done.stdout
