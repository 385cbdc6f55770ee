"""Everything that is claimed of a GPU, measured on the machine with one: in minutes, part by part, with one command.

    python benchmarks/gpu.py [--out gpu-output] [--minutes 8] [--smollm2 FOLDER_OR_GGUF] [--only PART ...] [--small]

A part that is in OUT/results.json already is not measured again; one that fails leaves its error there, and the others
go on. A part that would begin beyond the minutes waits for the next call. Without a GPU, and with --small, models and
numbers are tiny: that shows that the script runs, and says nothing of speed.

Per model and dtype: samples per second of scoring, of its rollouts alone (in the same batches), of its rollouts decoded
token by token with the host (the loop that is used where no graph can be), and of Hugging Face `generate`; all sample
up to T tokens, and models with random weights always do. Rollouts are G per sample.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.on_gpu.bench import Bench, Result, Skipped
from benchmarks.on_gpu.machine import (
    describe,
    measure_attention,
    measure_cudnn,
    measure_grpo,
    measure_halving,
    run_tests,
)
from benchmarks.on_gpu.speed import measure_dtypes, measure_rows, measure_scoring

PARTS: dict[str, Callable[[Bench], Result]] = {
    "machine": describe,
    "tests": run_tests,
    "attention": measure_attention,
    "scoring smollm2-shape bfloat16": partial(measure_scoring, name="smollm2-shape", dtype="bfloat16"),
    "scoring qwen2-1.5b bfloat16": partial(measure_scoring, name="qwen2-1.5b", dtype="bfloat16"),
    "scoring smollm2 bfloat16": partial(measure_scoring, name="smollm2", dtype="bfloat16"),
    "rows qwen2-1.5b bfloat16": partial(measure_rows, name="qwen2-1.5b", dtype="bfloat16"),
    "cudnn qwen2-1.5b bfloat16": partial(measure_cudnn, name="qwen2-1.5b", dtype="bfloat16"),
    "grpo qwen2-1.5b bfloat16": partial(measure_grpo, name="qwen2-1.5b", dtype="bfloat16"),
    "halving qwen2-1.5b bfloat16": partial(measure_halving, name="qwen2-1.5b", dtype="bfloat16"),
    "dtypes smollm2": partial(measure_dtypes, name="smollm2"),
    "rows smollm2-shape bfloat16": partial(measure_rows, name="smollm2-shape", dtype="bfloat16"),
    "grpo smollm2 bfloat16": partial(measure_grpo, name="smollm2", dtype="bfloat16"),
    "scoring qwen2-1.5b float32": partial(measure_scoring, name="qwen2-1.5b", dtype="float32", samples=128),
    "scoring smollm2 float32": partial(measure_scoring, name="smollm2", dtype="float32"),
}
"""In the order of their worth, should the time run out."""


def run_parts(bench: Bench, names: Sequence[str], *, ends: float) -> dict[str, Result]:
    """Measure what is not there yet, and write all of it down after each part."""
    file = bench.out / "results.json"
    results: dict[str, Result] = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        if not {"error", "skipped"} & set(results.get(name, {"error": ""})):
            continue
        if time.monotonic() > ends:
            print(f"{name}: no time left, call again")
            continue
        start = time.monotonic()
        try:
            result = PARTS[name](bench)
        except Skipped as reason:
            result = {"skipped": str(reason)}
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"[:3000], "traceback": traceback.format_exc()[-4000:]}
        results[name] = result | {"took": round(time.monotonic() - start, 1)}
        file.write_text(json.dumps(results, indent=1))
        print(
            f"{name}: {results[name]['took']} s {'FAILED ' + result['error'] if 'error' in result else ''}", flush=True
        )
    return results


def table(results: dict[str, Result]) -> str:
    """Everything that was measured, one line a number."""
    lines = []
    for name, result in results.items():
        lines.append(f"{name}  ({result['took']} s)")
        shown = {key: value for key, value in result.items() if key not in ("took", "traceback")}
        lines += [f"    {key:<38}{_shown(value)}" for key, value in shown.items()]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("gpu-output"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--smollm2", type=Path, help="a folder of transformers' files, or the GGUF file")
    parser.add_argument("--only", nargs="*", metavar="PART", choices=list(PARTS), help="; ".join(PARTS))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    arguments.out.mkdir(parents=True, exist_ok=True)
    small = arguments.small or not torch.cuda.is_available()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, arguments.out, arguments.smollm2, small)
    results = run_parts(bench, arguments.only or list(PARTS), ends=ends)
    print(("\nTINY MODELS: these numbers say nothing of speed\n" if small else "\n") + table(results))
    if any("error" in result for result in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
