"""The README's examples, run against a live stack.

Two things differ from what a reader runs: the model is the small local one, and the service's address is the stack's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
MARKED = re.compile(r"<!-- executed by tests/e2e/test_readme.py -->\n```(\w+)\n(.*?)```", re.DOTALL)
MODELS = {
    '{"source": "hub", "id": "HuggingFaceTB/SmolLM2-135M-Instruct"}': '{"source": "local", "id": "tiny"}',
    "--model HuggingFaceTB/SmolLM2-135M-Instruct": "--model tiny --local",
}


def example(language: str) -> str:
    blocks = dict(MARKED.findall(README.read_text()))
    assert set(blocks) == {"sh", "bash", "python"}
    text = blocks[language]
    for theirs, ours in MODELS.items():
        text = text.replace(theirs, ours)
    assert "tiny" in text
    return text


def run(command: list[str], stack: Stack, folder: Path) -> str:
    """Run an example beside copies of the two files, and return what it printed."""
    for name in ("samples.jsonl", "items.jsonl"):
        shutil.copy(stack.files / name, folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"MINIREC_BASE_URL": stack.url, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log()}"
    return done.stdout


def subset_positions(folder: Path) -> list[int]:
    return [json.loads(line)["position"] for line in (folder / "subset.jsonl").read_text().splitlines()]


def test_the_command_example_selects(stack: Stack, tmp_path: Path) -> None:
    select, subset = example("sh").split("minirec subset")
    run(["sh", "-euc", select], stack, tmp_path)
    with stack.client() as client:
        newest = next(client.selections.list())
    run(["sh", "-euc", f"minirec subset{subset}".replace("sel_...", newest.id)], stack, tmp_path)
    assert subset_positions(tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_selects(stack: Stack, tmp_path: Path) -> None:
    printed = run(["bash", "-euo", "pipefail", "-c", example("bash")], stack, tmp_path)
    assert "event: progress" in printed
    positions = subset_positions(tmp_path)
    assert positions == list(range(len(positions)))
    assert positions


def test_the_python_example_selects(stack: Stack, tmp_path: Path) -> None:
    printed = run([sys.executable, "-c", example("python")], stack, tmp_path)
    assert "selected=" in printed
    positions = subset_positions(tmp_path)
    assert positions == list(range(len(positions)))
    assert positions
