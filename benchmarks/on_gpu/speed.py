"""Scoring and its rollouts: against other ways, by rows, by dtype."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.on_gpu.bench import Bench, Result, peak_gib, recorded, timed
from benchmarks.scoring import samples_of
from minirec.data.dataset import Sample
from minirec.policy.batching import shared_opening
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompts
from minirec.policy.rollouts import Sampling, roll_out, sampling_noise
from minirec.policy.scoring import score_samples


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
        # Again, with a clock around the rollouts.
        with recorded() as batches:
            waiting, _ = timed(partial(score, chosen), device)
        rolling = sum(batch["seconds"] for batch in batches)
        drawn = sum(batch["drawn"] for batch in batches)
        graphs, policy.fixed_decoding = policy.fixed_decoding and policy.graphs, False
        few = chosen[: max(1, len(chosen) // 4)]
        with recorded() as old:
            score(few)
        result = {
            "samples": len(chosen),
            "samples_per_second": len(chosen) / seconds,
            "of_rollouts_alone": rolling / waiting,
            "rollouts_per_second": len(chosen) * settings.group_size / rolling,
            "tokens_per_second": drawn / rolling,
            "tokens_per_rollout": drawn / len(chosen) / settings.group_size,
            "batches": [batch["samples"] for batch in batches],
            "graphs": graphs,
            "against_the_loop_with_the_host": (len(chosen) / rolling)
            / (sum(batch["samples"] for batch in old) / sum(batch["seconds"] for batch in old)),
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
        "rank_agreement_of_dtypes": rank_agreement(exact, rewards["bfloat16", 0]),
        "rank_agreement_of_seeds": rank_agreement(exact, rewards["float32", 1]),
    }


def rank_agreement(first: Any, second: Any) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(first)), np.argsort(np.argsort(second)))[0, 1])
