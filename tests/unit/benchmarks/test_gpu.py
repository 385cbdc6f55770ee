"""The benchmark for machines with a GPU, from end to end without one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu.bench import Bench, Result

SCRIPT = Path(gpu.__file__)


def test_every_part_runs_small_and_a_second_call_measures_nothing_again(tmp_path: Path) -> None:
    parts = [name for name in gpu.PARTS if name != "tests"]
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--small", "--out", str(tmp_path), "--only", *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    results = json.loads((tmp_path / "results.json").read_text())
    assert not [result for result in results.values() if "error" in result], done.stdout + done.stderr
    assert done.returncode == 0
    assert list(results) == parts
    skipped = {name for name, result in results.items() if "skipped" in result}
    assert {name for name in skipped if "smollm2-shape" in name} == set()
    assert "scoring qwen2-1.5b bfloat16" not in skipped
    scoring = results["scoring qwen2-1.5b bfloat16"]
    assert scoring["graphs"] is True, "a CPU goes the way of a GPU"
    assert scoring["samples_per_second"] > 0
    assert 0 < results["grpo qwen2-1.5b bfloat16"]["generation_share"] < 1
    assert results["grpo qwen2-1.5b bfloat16"]["dead_groups"] == 0
    assert "rollouts_against_generate_by_tokens" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads((tmp_path / "results.json").read_text())["scoring qwen2-1.5b bfloat16"] == scoring
    assert "scoring qwen2-1.5b bfloat16: " not in again.stdout


def test_a_part_that_fails_leaves_its_error_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(bench: Bench) -> Result:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(gpu.PARTS, "attention", fails)
    bench = Bench(torch.device("cpu"), tmp_path, None, small=True)
    results = gpu.run_parts(bench, ["attention", "machine"], ends=time.monotonic() + 60)
    assert results["attention"]["error"] == "RuntimeError: no such kernel"
    assert results["machine"]["device"] == "cpu"
    assert "no such kernel" in gpu.table(results)
    late = gpu.run_parts(bench, ["machine", "rows qwen2-1.5b bfloat16"], ends=0.0)
    assert "rows qwen2-1.5b bfloat16" not in late
