"""From a resolved model to a policy in memory. One is kept per process."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from minirec.policy import vllm_engine
from minirec.policy.policy import Policy
from minirec.policy.reference import ModelRefused, ResolvedModel

_kept: dict[tuple[ResolvedModel, str], Policy] = {}


def load_policy(resolved: ResolvedModel, *, device: str | None = None) -> Policy:
    """The policy of a resolved model, from memory when it was the last one asked for (docs/method.md, section 1).

    `device` defaults to CUDA where there is one. Raises `ModelRefused` when the files are no causal language model
    or the adapter does not fit it.
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
    dtype = _dtype(resolved.dtype, device)
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, trust_remote_code=False, local_files_only=True)
        model = _pretrained(resolved, dtype)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelRefused(
            "model_not_found", f"{resolved.id!r} could not be read as a causal language model: {error}"
        ) from error
    model = model.to(device)
    if resolved.adapter_path is not None:
        model = _with_adapter(model, resolved, device)
    return Policy(model, tokenizer, source=resolved)


def _pretrained(resolved: ResolvedModel, dtype: torch.dtype) -> Any:
    # The attention is always named here: left open, a configuration file could name one to be fetched from the hub.
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    try:
        return AutoModelForCausalLM.from_pretrained(resolved.path, attn_implementation="sdpa", **options)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        # Attention with a logit soft-cap (Gemma 2) has no fused kernel.
        return AutoModelForCausalLM.from_pretrained(resolved.path, attn_implementation="eager", **options)


def _with_adapter(model: Any, resolved: ResolvedModel, device: str) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # PEFT only warns when weights of the adapter find no place in the model.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            adapted = PeftModel.from_pretrained(
                model, str(resolved.adapter_path), is_trainable=False, torch_device=device
            )
    except (RuntimeError, ValueError, UserWarning, KeyError) as error:
        raise ModelRefused(
            "adapter_mismatch", f"The adapter does not fit {resolved.id!r}; was it trained on another model? {error}"
        ) from error
    # Folding it in saves two products per layer; in a narrow dtype it would round the adapter away.
    if model.dtype == torch.float32:
        return adapted.merge_and_unload()
    keep_head_fast(adapted)
    return adapted


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
