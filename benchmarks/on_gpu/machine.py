"""The machine itself, its attention kernels, its memory, updates of GRPO, and the tests that need a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.on_gpu.bench import Bench, Result, Skipped, peak_gib, recorded, timed
from benchmarks.on_gpu.speed import rank_agreement
from benchmarks.scoring import samples_of
from minirec.api_schemas.training import GrpoSettings
from minirec.policy.catalogue import embed_items
from minirec.policy.rollouts import sampling_noise
from minirec.policy.scoring import score_samples
from minirec.training.learner import Learner
from minirec.training.lora import with_lora

ROOT = Path(__file__).resolve().parents[2]


def measure_attention(bench: Bench) -> Result:
    """Attention of one token over 480, 1,024 rows of grouped heads, by torch's kernels: the first call, the others."""
    if bench.device.type != "cuda":
        raise Skipped("the kernels to choose from are a GPU's")
    rows, heads, groups, width, size = 1024, 2, 6, 480, 128
    result: Result = {}
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        new = partial(torch.randn, dtype=torch.bfloat16, device=bench.device)
        query, keys, values = (new(rows, heads, length, size) for length in (groups, width, width))
        mask = torch.zeros(rows, 1, 1, width, dtype=torch.bfloat16, device=bench.device)
        work = partial(torch.nn.functional.scaled_dot_product_attention, query, keys, values, attn_mask=mask)
        with sdpa_kernel(backend):
            first, _ = timed(work, bench.device)
            seconds, _ = timed(partial(_repeat, work, 50), bench.device)
        result[backend.name.lower()] = {"first_ms": 1e3 * first, "then_ms": 1e3 * seconds / 50}
    return result | {"bytes_gib": 2 * rows * heads * width * size * 2 / 2**30}


def measure_cudnn(bench: Bench, name: str, dtype: str) -> Result:
    """Scoring with cuDNN's attention, which policies turn off, and without: new shapes, and the same again."""
    if bench.device.type != "cuda":
        raise Skipped("cuDNN is a GPU's")
    result: Result = {}
    with bench.model(name, dtype) as policy:
        catalogue = embed_items(policy, bench.items)
        for on in (False, True):
            torch.backends.cuda.enable_cudnn_sdp(on)
            for count, when in ((240, "first"), (240, "again"), (200, "another_shape")):
                score = partial(score_samples, policy, catalogue, bench.items, rollouts=bench.rollouts)
                seconds, _ = timed(partial(score, bench.samples(count)), policy.device)
                result[f"{'with' if on else 'without'}_{when}"] = count / seconds
        torch.backends.cuda.enable_cudnn_sdp(False)
    return {"samples_per_second": result}


def _repeat(work: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        work()


def measure_grpo(bench: Bench, name: str, dtype: str) -> Result:
    """Updates of GRPO: how long, how much of it generation, and how much memory.

    Advantages are random numbers, so that every group has some: models with random weights earn the same every time.
    """
    settings = bench.rollouts.model_copy(update={"group_size": 8, "max_new_tokens": 6 if bench.small else 64})
    samples, grpo = samples_of(2 if bench.small else 32, len(bench.items)), GrpoSettings(learning_rate=1e-6)
    updates = []
    random = np.random.default_rng(0)

    def some(rewards: Any, hits: Any) -> tuple[Any, Any]:
        return random.standard_normal(rewards.shape), np.zeros(len(rewards), np.int8)

    with (
        bench.model(name, dtype) as policy,
        with_lora(policy, grpo) as learning,
        mock.patch("minirec.training.learner.advantages", some),
    ):
        learning.fixed_decoding = policy.fixed_decoding
        catalogue = torch.from_numpy(embed_items(learning, bench.items)).to(learning.device)
        learner = Learner(learning, bench.items, settings, grpo)
        peak_gib(learning.device, reset=True)
        for update in range(3):
            noise = np.stack(
                [sampling_noise(s.id, seed=update, rollouts=8, length=settings.max_new_tokens) for s in samples]
            )
            work = partial(learner.update, samples, catalogue, noise, list(range(16)))
            seconds, learned = timed(work, learning.device)
            updates.append({"seconds": seconds, "generation": learned.generation_seconds / seconds})
        return {
            "samples_per_update": len(samples),
            "rollouts_per_update": 8 * len(samples),
            "seconds": min(update["seconds"] for update in updates[1:]),
            "generation_share": float(np.mean([update["generation"] for update in updates[1:]])),
            "dead_groups": learned.dead_groups,
            "graphs": learning.fixed_decoding and learning.graphs,
            "peak_gib": peak_gib(learning.device),
        }


def measure_halving(bench: Bench, name: str, dtype: str) -> Result:
    """Scoring with a part of the memory that its first batch wants: batches that halve, and the same rewards."""
    with bench.model(name, dtype) as policy:
        samples = bench.samples(256)
        catalogue = embed_items(policy, bench.items)
        score = partial(score_samples, policy, catalogue, bench.items, samples, rollouts=bench.rollouts)
        with recorded() as plenty:
            expected = score()
        if policy.device.type != "cuda":
            raise Skipped("memory cannot be taken away from a CPU")
        used, total = torch.cuda.memory_allocated(), torch.cuda.get_device_properties(policy.device).total_memory
        most = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((used + 0.3 * (most - used)) / total)
        try:
            with recorded() as little:
                actual = score()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return {
            "batches_with_plenty": [batch["samples"] for batch in plenty],
            "batches_with_little": [batch["samples"] for batch in little],
            "rewards_within_1e-3": float(np.isclose(actual.reward, expected.reward, rtol=1e-3, atol=1e-3).mean()),
            "rank_agreement": rank_agreement(actual.reward.mean(1), expected.reward.mean(1)),
        }


def run_tests(bench: Bench) -> Result:
    """The tests that are marked `gpu`."""
    tests = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default", *tests]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": _path()}
    )
    (bench.out / "tests.log").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 5):
        raise RuntimeError("pytest failed: " + done.stdout[-3000:])
    return {"summary": done.stdout.strip().splitlines()[-1]}


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def describe(bench: Bench) -> Result:
    """The machine."""
    import transformers

    facts = {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__}
    if bench.device.type != "cuda":
        return facts | {"device": "cpu", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(bench.device)
    return facts | {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
