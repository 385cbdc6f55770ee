"""From a resolved model to a policy in memory. One is kept per process."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from minirec.policy import vllm_engine
from minirec.policy.chat import open_chat
from minirec.policy.errors import refusing
from minirec.policy.policy import Policy
from minirec.policy.reference import ResolvedModel
from minirec.policy.weights import check_vocabulary, load_model

_kept: dict[tuple[ResolvedModel, str], Policy] = {}


def load_policy(resolved: ResolvedModel, *, device: str | None = None) -> Policy:
    """Return the policy of a resolved model (docs/method.md, section 1); the last one asked for stays in memory.

    `device` defaults to CUDA where there is one. Raises `ModelRefused` when the files are no causal language model,
    weights are missing or left over, or the adapter does not fit.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    key = (resolved, device)
    if key not in _kept:
        release_policy()
        _kept[key] = _load(resolved, device)
    return _kept[key]


def release_policy() -> None:
    """Give back the memory of the policy that is kept."""
    _kept.clear()
    vllm_engine.release()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(resolved: ResolvedModel, device: str) -> Policy:
    chat = open_chat(resolved)
    model = load_model(resolved, _dtype(resolved.dtype, device), device=device)
    check_vocabulary(resolved, chat, model)
    # Folding an adapter in saves two products per layer; in a narrow dtype it would round the adapter away.
    if resolved.adapter_path is not None:
        if model.dtype == torch.float32:
            model = model.merge_and_unload()
        else:
            keep_head_fast(model)
    with refusing(f"{resolved.id!r} cannot be a policy"):
        return Policy(model, chat.tokenizer, source=resolved)


def keep_head_fast(model: Any) -> RemovableHandle:
    """Give the output head of a model with frozen weights contiguous inputs.

    On a CPU torch multiplies a strided input with a frozen weight by copying the weight for every row.
    """

    def make_contiguous(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.contiguous() for tensor in inputs)

    return model.get_output_embeddings().register_forward_pre_hook(make_contiguous)


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
