"""The README's examples, run against a live stack.

Three things differ from what a reader runs: the model is the small local one, the service's address, folder and key are
the stack's, and prompts have a reward that a random model does earn now and then.
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
ON_PROMPTS = re.compile(r"<!-- executed by tests/e2e/test_readme.py on prompts -->\n```sh\n(.*?)```", re.DOTALL)
MODELS = {
    '{"source": "hub", "id": "HuggingFaceTB/SmolLM2-135M-Instruct"}': '{"source": "local", "id": "tiny"}',
    "--model HuggingFaceTB/SmolLM2-135M-Instruct": "--model tiny --local",
    "--reward exact_answer": "--reward digits",
}


def example(language: str) -> str:
    blocks = dict(MARKED.findall(README.read_text()))
    assert set(blocks) == {"sh", "bash", "python"}
    return with_the_small_model(blocks[language])


def with_the_small_model(text: str) -> str:
    for theirs, ours in MODELS.items():
        text = text.replace(theirs, ours)
    assert "tiny" in text
    return text


def run(command: list[str], stack: Stack, folder: Path, *, with_key: bool = False) -> str:
    """Run an example beside copies of the files, and return what it printed."""
    for name in ("samples.jsonl", "items.jsonl", "prompts.jsonl"):
        shutil.copy(stack.files / name, folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"MINIREC_BASE_URL": stack.url, "MINIREC_DATA_DIR": str(stack.data_dir), "PATH": path}
    environment |= {"MINIREC_API_KEY": stack.key} if with_key else {}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log()}"
    return done.stdout


def subset_positions(folder: Path) -> list[int]:
    return [json.loads(line)["position"] for line in (folder / "subset.jsonl").read_text().splitlines()]


def newest_selection(stack: Stack) -> str:
    with stack.client() as client:
        return next(iter(client.selections.list())).id


def test_the_command_example_selects(stack: Stack, tmp_path: Path) -> None:
    select, subset = example("sh").split("minirec subset")
    run(["sh", "-euc", select], stack, tmp_path)
    run(["sh", "-euc", f"minirec subset{subset}".replace("sel_...", newest_selection(stack))], stack, tmp_path)
    assert subset_positions(tmp_path)


def test_the_example_on_prompts_selects_and_exports(stack: Stack, tmp_path: Path) -> None:
    """Training is a test of its own (test_prompts.py)."""
    (text,) = ON_PROMPTS.findall(README.read_text())
    select, export = re.split(r"minirec train .*\n", with_the_small_model(text))
    run(["sh", "-euc", select], stack, tmp_path)
    run(["sh", "-euc", export.replace("sel_...", newest_selection(stack))], stack, tmp_path)
    assert 'TextReward(name="digits", weight=1.0)' in (tmp_path / "for-trl" / "README.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_selects(stack: Stack, tmp_path: Path) -> None:
    printed = run(["bash", "-euo", "pipefail", "-c", example("bash")], stack, tmp_path, with_key=True)
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
