"""Rollouts by vLLM: it samples the tokens, and the policy reads z off them (docs/method.md, section 8).

Optional, CUDA only. Written against the API of vLLM 0.30 and compared with that of 0.33. vLLM gives no hidden states,
so z comes from one more forward pass over prompt and tokens: of the same model, in the same implementation, that
embeds the catalogue.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from minirec.data.prompts import ANSWER
from minirec.policy.batching import Opening
from minirec.policy.policy import Policy
from minirec.policy.reference import ModelRefused, ResolvedModel
from minirec.policy.rollouts import Rollouts, Sampling, Transcripts, replay

GPU_SHARE = 0.5
"""Of the GPU's memory, for vLLM's copy of the model and its cache. The policy itself needs the rest."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Room for adapters comes in these sizes."""


@dataclass(frozen=True)
class Engine:
    """A running vLLM."""

    llm: Any
    """`vllm.LLM`."""
    adapter: Any
    """`vllm.lora.request.LoRARequest`, or None."""


_kept: dict[ResolvedModel, Engine] = {}


def roll_out_vllm(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    noise: npt.NDArray[np.float64],
    sampling: Sampling,
    opening: Opening | None = None,
) -> Rollouts:
    """Sample rollouts of B prompts as `roll_out` does, with the same rules, but by vLLM, whose tokens differ.

    Args:
        policy: What samples; loaded from files.
        prompts: Tokens of each prompt.
        noise: (B, R, T). The first number of a rollout is its seed: it depends on the seed, the sample and the rollout
            alone; a row of zeros is a greedy rollout.
        sampling: How a token is drawn.
        opening: What all prompts begin with, where it was computed before.

    Returns:
        The rollouts; `processed` counts the tokens of the policy's own pass.

    Raises:
        ModelRefused: `engine_unavailable` where there is no vLLM or no CUDA device, or vLLM does not take the model;
            `adapter_mismatch` for adapters that it does not take.
    """
    count, repeats, limit = noise.shape
    transcripts = Transcripts(policy, count * repeats, limit)
    transcripts.follow(_sample(policy, prompts, noise, sampling))
    tokens = transcripts.by_prompt(repeats)
    z, processed = replay(policy, prompts, tokens, opening)
    return Rollouts(z, tokens, transcripts.sampled().reshape(count, repeats), processed)


def release() -> None:
    """Stop the engine that is kept, if there is one, and give its memory back."""
    while _kept:
        _, engine = _kept.popitem()
        engine.llm.llm_engine.engine_core.shutdown()
        del engine
        _clean_up()


@torch.inference_mode(False)  # vLLM sees to that itself, and loads weights outside of it
def _sample(
    policy: Policy, prompts: Sequence[Sequence[int]], noise: npt.NDArray[np.float64], sampling: Sampling
) -> list[list[int]]:
    """vLLM's tokens for B * R requests; those of one prompt follow each other, and share its cache."""
    _, repeats, limit = noise.shape
    engine = _engine(policy)
    vllm = import_module("vllm")
    outputs = engine.llm.generate(
        [vllm.TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts for _ in range(repeats)],
        [vllm.SamplingParams(**_request(policy, row, sampling)) for row in noise.reshape(-1, limit)],
        use_tqdm=False,
        lora_request=engine.adapter,
    )
    return [_tokens(output.outputs[0], limit) for output in outputs]


def _request(policy: Policy, noise: npt.NDArray[np.float64], sampling: Sampling) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams` for the rollout with this noise (T,)."""
    return {
        "temperature": sampling.temperature if noise.any() else 0.0,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "seed": int(noise[0] * 2**53),
        "max_tokens": len(noise),
        "stop": [ANSWER],
        "include_stop_str_in_output": True,
        "stop_token_ids": sorted(policy.end_ids),
        "skip_special_tokens": False,
    }


def _tokens(completion: Any, limit: int) -> list[int]:
    """Return the tokens that vLLM sampled for a request. Raise RuntimeError if it did not finish."""
    tokens, reason = list(completion.token_ids), completion.finish_reason
    if reason == "length" and len(tokens) < limit:
        raise RuntimeError(
            f"vLLM had room for {len(tokens)} of {limit} tokens of a rollout: its half of the GPU's memory is too "
            "small for this model. Lower rollouts.max_new_tokens, or use the engine 'transformers'."
        )
    if reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM gave up a rollout after {len(tokens)} of {limit} tokens: {reason}")
    return tokens


def _engine(policy: Policy) -> Engine:
    """vLLM with the policy's model; kept for the next call, one per process."""
    if policy.source is None:
        raise ValueError("vLLM reads a model from its files: this policy was not loaded from any (see load_policy)")
    if policy.source not in _kept:
        release()
        _kept[policy.source] = _start(policy.source, str(policy.dtype).removeprefix("torch."))
    return _kept[policy.source]


def _start(source: ResolvedModel, dtype: str) -> Engine:
    # In this process: a Celery worker's child may not have children of its own, and the order of work stays the same.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    vllm = _import()
    room = {} if source.adapter_path is None else {"enable_lora": True, "max_lora_rank": _lora_rank(source)}
    torch.cuda.empty_cache()
    try:
        llm = vllm.LLM(
            model=str(source.path),
            dtype=dtype,
            load_format="safetensors",
            trust_remote_code=False,
            enable_prefix_caching=True,
            gpu_memory_utilization=GPU_SHARE,
            max_model_len=-1,  # as long as the model allows and the memory holds
            **room,
        )
        if source.adapter_path is None:
            return Engine(llm, None)
        adapter = import_module("vllm.lora.request").LoRARequest("adapter", 1, str(source.adapter_path))
        llm.llm_engine.add_lora(adapter)
    except Exception as error:  # of many kinds, vLLM's own among them
        _clean_up()
        raise _unavailable(f"vLLM could not be started with {source.id!r}: {error}") from error
    return Engine(llm, adapter)


def _import() -> Any:
    if not torch.cuda.is_available():
        raise _unavailable("this worker has no CUDA device")
    try:
        return import_module("vllm")
    except ImportError as error:
        raise _unavailable(f"vLLM cannot be imported ({error})") from error


def _unavailable(reason: str) -> ModelRefused:
    return ModelRefused(
        "engine_unavailable",
        f"rollouts.engine 'vllm' needs a CUDA device and vLLM: {reason}. Install it on the worker with "
        "`pip install 'minirec[worker,vllm]'`, or use the engine 'transformers'.",
    )


def _lora_rank(source: ResolvedModel) -> int:
    """The smallest room that vLLM makes in which the adapter fits."""
    config = json.loads((Path(str(source.adapter_path)) / "adapter_config.json").read_bytes())
    rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
    if config["peft_type"] != "LORA" or rank > LORA_RANKS[-1]:
        raise ModelRefused(
            "adapter_mismatch",
            f"vLLM takes LoRA adapters up to rank {LORA_RANKS[-1]}; this one is {config['peft_type']} of rank {rank}. "
            "Use the engine 'transformers'.",
        )
    return next(size for size in LORA_RANKS if size >= rank)


def _clean_up() -> None:
    import_module("vllm.distributed").cleanup_dist_env_and_memory()
