"""The tutorials, run as they are printed, in their order, against a live stack.

As in test_readme.py the model is the small local one, and the service's address and folder are the stack's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCK = re.compile(r"<!-- executed by tests/e2e/test_tutorials.py -->\n```(python|sh)\n(.*?)```", re.DOTALL)
HUB_REFERENCE = '{"source": "hub", "id": "HuggingFaceTB/SmolLM2-135M-Instruct"}'
HUB_NAME = '"HuggingFaceTB/SmolLM2-135M-Instruct"'


def blocks(name: str) -> list[tuple[str, str]]:
    found = BLOCK.findall((TUTORIALS / f"{name}.md").read_text())
    assert found
    return found


def run(name: str, stack: Stack, folder: Path) -> list[str]:
    """Run a tutorial's blocks one after the other, each in a process of its own; returns what each printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"MINIREC_BASE_URL": stack.url, "MINIREC_DATA_DIR": str(stack.data_dir), "PATH": path}
    printed = []
    for language, text in blocks(name):
        text = text.replace(HUB_REFERENCE, '{"source": "local", "id": "tiny"}')
        text = text.replace(HUB_NAME, repr(str(stack.data_dir / "models" / "tiny")))
        command = ["sh", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{stack.log()}"
        printed.append(done.stdout)
    return printed


def test_from_files_to_a_subset_and_a_trained_adapter(stack: Stack, tmp_path: Path) -> None:
    """`subset`, and then `train`, which goes on with the newest selection."""
    printed = run("subset", stack, tmp_path)
    assert len(re.findall(r"^\S+ reward ", printed[3], re.MULTILINE)) == 5
    rows = pd.read_parquet(tmp_path / "for-trl" / "train.parquet")
    assert str(rows["minirec_id"].tolist()) == printed[-1].strip()
    assert len(rows) == 12
    assert "<html" in (tmp_path / "report.html").read_text()
    trained = run("train", stack, tmp_path)
    assert "test_after=" in trained[0]
    assert re.search(r"^better than its start: (True|False)$", trained[1], re.MULTILINE)
    assert "./tiny" in trained[2]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def verl_log(folder: Path, compute_score: Callable[..., dict[str, object]]) -> None:
    """What verl 0.9.1 writes of two updates: its five columns, and what `compute_score` returns beside the score."""
    (folder / "rollouts").mkdir()
    for step in (1, 10):
        with (folder / "rollouts" / f"{step}.jsonl").open("w") as file:
            for n in range(8):
                for rollout in range(4):
                    output = f"It is {n + n % 7 if rollout < n % 4 + 1 else 99}."
                    truth = str(n + n % 7)
                    extra = compute_score("sums", output, truth, {"minirec_id": f"p{n:03d}"})
                    row = {"input": f"What is {n} + {n % 7}?", "output": output, "gts": truth, "step": step}
                    file.write(json.dumps(row | extra) + "\n")


def trl_log(folder: Path, my_reward: Callable[..., list[float]]) -> None:
    """What TRL 1.16 writes of an update: a column of the reward, and of what it gave to `log_extra`."""
    (folder / "trl-run" / "completions").mkdir(parents=True)
    extra: dict[str, list[str]] = {}
    chats = [[{"role": "assistant", "content": text}] for text in ("It is 8.", "It is 9.")]
    earned = my_reward(chats, ["8", "8"], ["p004", "p004"], extra.__setitem__)
    table = {"step": [1, 1], "completion": chats, "my_reward": earned, **extra, "advantage": [1.0, -1.0]}
    pd.DataFrame(table).to_parquet(folder / "trl-run" / "completions" / "completions_00001.parquet")


def test_rewards_of_own_runs_choose(stack: Stack, tmp_path: Path) -> None:
    shutil.copy(stack.files / "prompts.jsonl", tmp_path)
    names: dict[str, Callable[..., dict[str, object]]] = {}
    rewards: dict[str, Callable[..., list[float]]] = {}
    texts = [text for _, text in blocks("own-rewards")]
    exec(next(text for text in texts if "def compute_score" in text), names)
    exec(next(text for text in texts if "def my_reward" in text), rewards)
    verl_log(tmp_path, names["compute_score"])
    trl_log(tmp_path, rewards["my_reward"])
    printed = run("own-rewards", stack, tmp_path)
    assert len(json.loads((tmp_path / "verl-rewards.json").read_text())["p003"]) == 8
    assert json.loads((tmp_path / "trl-rewards.json").read_text()) == {"p004": [1.0, 0.0]}
    means = [float(line.split()[1]) for line in printed[-1].splitlines()]
    assert len(means) == 4
    assert all(0 < mean < 1 for mean in means)
