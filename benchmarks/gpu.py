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
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config  # noqa: E402

from api_schemas.selections import RolloutSettings  # noqa: E402
from api_schemas.training import GrpoSettings  # noqa: E402
from benchmarks.scoring import catalogue_of, samples_of  # noqa: E402
from minirec.data.dataset import Sample  # noqa: E402
from minirec.policy import scoring  # noqa: E402
from minirec.policy.batching import shared_opening  # noqa: E402
from minirec.policy.catalogue import embed_items  # noqa: E402
from minirec.policy.policy import Policy  # noqa: E402
from minirec.policy.prompts import user_prompts  # noqa: E402
from minirec.policy.rollouts import Sampling, roll_out, sampling_noise  # noqa: E402
from minirec.policy.scoring import score_samples  # noqa: E402
from minirec.policy.tiny import train_tokenizer  # noqa: E402
from minirec.training.learner import Learner  # noqa: E402
from minirec.training.lora import with_lora  # noqa: E402

Result = dict[str, Any]
QWEN2_15B = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
}
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
}


@dataclass(frozen=True)
class Bench:
    """What is measured on, and how much of it."""

    device: torch.device
    out: Path
    smollm2: Path | None
    small: bool

    @property
    def rollouts(self) -> RolloutSettings:
        return RolloutSettings(group_size=4, max_new_tokens=6 if self.small else 128)

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        return catalogue_of(40 if self.small else 2000)

    def samples(self, count: int) -> list[Sample]:
        return samples_of(4 if self.small else count, len(self.items))

    @contextmanager
    def model(self, name: str, dtype: str) -> Iterator[Policy]:
        """A policy; its memory is given back at the end."""
        policy = self._trained(dtype) if name == "smollm2" else self._random(name, dtype)
        policy.model.requires_grad_(False)
        # On a CPU, so that the same code runs.
        policy.fixed_decoding = None if self.device.type == "cuda" else True
        try:
            yield policy
        finally:
            del policy.model, policy
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _trained(self, dtype: str) -> Policy:
        if self.smollm2 is None:
            raise Skipped("no SmolLM2-135M: give --smollm2 a folder of transformers' files, or the GGUF file")
        folder = self.smollm2
        if folder.is_file():
            from minirec.policy.convert import convert_gguf

            folder = convert_gguf(folder, self.out / "SmolLM2-135M-Instruct")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(self.device)
        return Policy(model, AutoTokenizer.from_pretrained(folder))

    def _random(self, name: str, dtype: str) -> Policy:
        """A model of a known shape with random weights, and a tokenizer that knows a part of its words."""
        torch.manual_seed(0)
        tokenizer = train_tokenizer((item["title"] for item in catalogue_of(2000)), 900)
        sizes = TINY if self.small else {"qwen2-1.5b": QWEN2_15B, "smollm2-shape": SMOLLM2_135M}[name]
        kind = LlamaConfig if name == "smollm2-shape" else Qwen2Config
        config = kind(**sizes, tie_word_embeddings=True, max_position_embeddings=8192, eos_token_id=2, pad_token_id=0)
        with torch.device(self.device):
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        return Policy(model, tokenizer)


class Skipped(Exception):
    """A part cannot be measured here; the message says why."""


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds until the device is done, and what came out."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


def peak_gib(device: torch.device, *, reset: bool = False) -> float | None:
    """Most memory that was in use on the GPU since the last reset."""
    if device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(device) / 2**30
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
    return round(most, 2)


@contextmanager
def recorded() -> Iterator[list[Result]]:
    """The batches in which samples are rolled out, with their seconds and tokens."""
    batches: list[Result] = []

    def recording(policy: Policy, prompts: Sequence[Sequence[int]], *arguments: Any) -> Any:
        seconds, rolled = timed(partial(roll_out, policy, prompts, *arguments), policy.device)
        batches.append({"samples": len(prompts), "seconds": seconds, "drawn": int(rolled.sampled.sum())})
        return rolled

    with mock.patch.object(scoring, "roll_out", recording):
        yield batches


def measure_scoring(bench: Bench, name: str, dtype: str, samples: int = 512) -> Result:
    """Scoring against its rollouts alone, against the loop with the host, and against `generate`."""
    with bench.model(name, dtype) as policy:
        device, settings, chosen = policy.device, bench.rollouts, bench.samples(samples)
        embed_items(policy, bench.items[:64])
        embedding, vectors = timed(partial(embed_items, policy, bench.items), device)
        catalogue = torch.from_numpy(vectors).to(device)
        score = partial(score_samples, policy, catalogue, bench.items, rollouts=settings)
        score(chosen[: len(chosen) // 4])
        peak_gib(device, reset=True)
        seconds, _ = timed(partial(score, chosen), device)
        peak = peak_gib(device)
        with recorded() as batches:
            waiting, _ = timed(partial(score, chosen), device)
        rolling = sum(batch["seconds"] for batch in batches)
        drawn = sum(batch["drawn"] for batch in batches)
        graphs, policy.fixed_decoding = policy.fixed_decoding, False
        few = chosen[: max(1, len(chosen) // 4)]
        with recorded() as old:
            score(few)
        result = {
            "samples": len(chosen),
            "samples_per_second": len(chosen) / seconds,
            "of_rollouts_alone": rolling / seconds,
            "rollouts_per_second": len(chosen) * settings.group_size / rolling,
            "tokens_per_second": drawn / rolling,
            "tokens_per_rollout": drawn / len(chosen) / settings.group_size,
            "batches": [batch["samples"] for batch in batches],
            "graphs": graphs,
            "against_the_loop_with_the_host": (len(chosen) / rolling)
            / (sum(batch["samples"] for batch in old) / sum(batch["seconds"] for batch in old)),
            "seconds_with_clock": waiting,
            "catalogue_items_per_second": len(bench.items) / embedding,
            "peak_gib": peak,
        }
        generating, generated = _generate(bench, policy, few)
        return result | {
            "generate_samples_per_second": len(few) / generating,
            "generate_tokens_per_second": generated / generating,
            "rollouts_against_generate_by_tokens": (drawn / rolling) / (generated / generating),
        }


def _generate(bench: Bench, policy: Policy, samples: Sequence[Sample]) -> tuple[float, int]:
    """Seconds and tokens of Hugging Face `generate` for the same prompts, all at once, as it comes."""
    settings = bench.rollouts
    prompts = user_prompts(policy, bench.items, samples, window=settings.window, room=200)
    batch = policy.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(policy.device)
    generate = partial(
        policy.model.generate,
        **batch,
        do_sample=True,
        temperature=settings.temperature,
        top_k=settings.top_k,
        num_return_sequences=settings.group_size,
        pad_token_id=policy.pad_id,
        eos_token_id=sorted(policy.end_ids),
    )
    generate(max_new_tokens=2)
    seconds, output = timed(partial(generate, max_new_tokens=settings.max_new_tokens), policy.device)
    return seconds, int((output[:, batch["input_ids"].shape[1] :] != policy.pad_id).sum())


def measure_rows(bench: Bench, name: str, dtype: str) -> Result:
    """Rollouts by how many go through the model at once."""
    with bench.model(name, dtype) as policy:
        settings, result = bench.rollouts.model_copy(update={"max_new_tokens": 6 if bench.small else 64}), {}
        for rows in (4, 8) if bench.small else (64, 256, 512, 1024, 2048):
            samples = samples_of(rows // settings.group_size, len(bench.items))
            prompts = user_prompts(policy, bench.items, samples, window=5, room=200)
            length = settings.max_new_tokens
            noise = np.stack(
                [sampling_noise(s.id, seed=0, rollouts=settings.group_size, length=length) for s in samples]
            )
            opening = shared_opening(policy, prompts, longest=max(map(len, prompts)) + length + 16)
            work = partial(roll_out, policy, prompts, noise, Sampling.of(settings), opening)
            work()
            seconds, rolled = timed(work, policy.device)
            result[str(rows)] = int(rolled.sampled.sum()) / seconds
        return {"tokens_per_second_by_rows": result, "prompt_tokens": float(np.mean([len(p) for p in prompts]))}


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


def _repeat(work: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        work()


def measure_dtypes(bench: Bench, name: str) -> Result:
    """What bfloat16 changes: time, and the order of samples by reward, beside what another seed changes."""
    samples, rewards, seconds = bench.samples(256), {}, {}
    for dtype in ("float32", "bfloat16"):
        with bench.model(name, dtype) as policy:
            catalogue = embed_items(policy, bench.items)
            for seed in (0, 1):
                settings = bench.rollouts.model_copy(update={"seed": seed})
                work = partial(score_samples, policy, catalogue, bench.items, samples, rollouts=settings)
                seconds[dtype], scored = timed(work, policy.device)
                rewards[dtype, seed] = scored.reward.mean(1)
    exact = rewards["float32", 0]
    return {
        "samples_per_second": {dtype: len(samples) / taken for dtype, taken in seconds.items()},
        "rank_agreement_of_dtypes": _spearman(exact, rewards["bfloat16", 0]),
        "rank_agreement_of_seeds": _spearman(exact, rewards["float32", 1]),
    }


def _spearman(first: Any, second: Any) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(first)), np.argsort(np.argsort(second)))[0, 1])


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
            "graphs": learning.fixed_decoding,
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
            "rank_agreement": _spearman(actual.reward.mean(1), expected.reward.mean(1)),
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


PARTS: dict[str, Callable[[Bench], Result]] = {
    "machine": describe,
    "tests": run_tests,
    "attention": measure_attention,
    "scoring smollm2-shape bfloat16": partial(measure_scoring, name="smollm2-shape", dtype="bfloat16"),
    "scoring qwen2-1.5b bfloat16": partial(measure_scoring, name="qwen2-1.5b", dtype="bfloat16"),
    "scoring smollm2 bfloat16": partial(measure_scoring, name="smollm2", dtype="bfloat16"),
    "rows qwen2-1.5b bfloat16": partial(measure_rows, name="qwen2-1.5b", dtype="bfloat16"),
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
