"""From files to a model in memory, or to its bare structure, with every weight accounted for."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from minirec.policy.chat import Chat
from minirec.policy.errors import ModelRefused, refusing
from minirec.policy.files import Tensors, read_tensors
from minirec.policy.reference import ResolvedModel

PREFIXES = {
    "_orig_mod.": "torch.compile wraps a model so: save `model._orig_mod` instead",
    "module.": "DistributedDataParallel wraps a model so: save `model.module` instead",
}
"""What wrappers put before the names of weights, and what to save instead."""
LEFTOVERS = re.compile(r"(rotary_emb\.inv_freq|\.attn\.(masked_)?bias|position_ids)$")
"""Buffers that older releases of transformers saved and newer ones compute."""
NAMED = 3
"""Weights that a message names."""


def load_model(resolved: ResolvedModel, dtype: torch.dtype, *, device: str) -> Any:
    """Load a resolved model, its adapter beside it, onto a device.

    On the device `meta` no weight is read or allocated, and everything else is checked in the same way. Raises
    `ModelRefused`: `model_unusable` for files that are no causal language model, `weights_mismatch` for weights that
    are missing, left over or of another shape, `adapter_mismatch` for an adapter that does not fit.
    """
    logging.disable_progress_bar()
    with refusing(f"{resolved.id!r} could not be read as a causal language model"):
        model, info = _pretrained(resolved, dtype, device)
    _check_loaded(resolved.id, info, model)
    if device != "meta":
        model = model.to(device)
    return model if resolved.adapter_path is None else _with_adapter(model, resolved, device)


def check_vocabulary(resolved: ResolvedModel, chat: Chat, model: Any) -> None:
    """Check that the model has an embedding for every token of its tokenizer.

    Raises `ModelRefused`: `adapter_mismatch` for an adapter that brings added tokens without embeddings for them,
    `model_unusable` for a model of which that is true.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = sorted((index, token) for token, index in chat.tokenizer.get_vocab().items() if index >= rows)
    if not beyond:
        return
    added = f"{len(beyond)} tokens, {', '.join(repr(token) for _, token in beyond[:NAMED])} first"
    if resolved.tokenizer_source == "adapter":
        raise ModelRefused(
            "adapter_mismatch",
            f"The adapter's tokenizer adds {added}, for which neither it nor {resolved.id!r} has embeddings ({rows} "
            "rows). Save the resized embeddings with the adapter (modules_to_save), or remove the tokens.",
        )
    raise ModelRefused(
        "model_unusable",
        f"The tokenizer of {resolved.id!r} has {added}, beyond the {rows} rows of its embeddings. Resize the "
        "embeddings and save the model again, or remove the tokens.",
    )


def _pretrained(resolved: ResolvedModel, dtype: torch.dtype, device: str) -> tuple[Any, dict[str, Any]]:
    # The attention is always named here: left open, a configuration file could name one to be fetched from the hub.
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
        "output_loading_info": True,
        # So that shapes that differ are reported with the rest, and not as the first error.
        "ignore_mismatched_sizes": True,
    }
    if device == "meta":
        options["device_map"] = "meta"
    try:
        return AutoModelForCausalLM.from_pretrained(resolved.path, attn_implementation="sdpa", **options)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        # Attention with a logit soft-cap (Gemma 2) has no fused kernel.
        return AutoModelForCausalLM.from_pretrained(resolved.path, attn_implementation="eager", **options)


def _check_loaded(name: str, info: dict[str, Any], model: Any) -> None:
    """Raise `ModelRefused` for weights that transformers would make up at random, or leave out."""
    missing = sorted(info["missing_keys"])
    unexpected = sorted(key for key in info["unexpected_keys"] if not LEFTOVERS.search(key))
    shapes = sorted((key, tuple(found), tuple(wanted)) for key, found, wanted in info["mismatched_keys"])
    if not (missing or unexpected or shapes):
        return
    total = len(model.state_dict())
    faults = []
    if missing:
        faults.append(
            f"{len(missing)} of the {total} weights that its configuration asks for are missing ({_some(missing)})"
        )
    if unexpected:
        faults.append(f"{len(unexpected)} weights in its files find no place ({_some(unexpected)})")
    if shapes:
        key, found, wanted = shapes[0]
        faults.append(f"{len(shapes)} have another shape ({key}: {found} in the file, {wanted} wanted)")
    prefix = _common_prefix(unexpected)
    advice = (
        f" Their names begin with {prefix!r}: {PREFIXES[prefix]}, or remove the prefix."
        if prefix is not None
        else " Are config.json and the weights of the same model, and all its files there?"
    )
    raise ModelRefused("weights_mismatch", f"{name!r} cannot be loaded as it was saved: {'; '.join(faults)}.{advice}")


def _common_prefix(keys: Collection[str]) -> str | None:
    """The wrapper's prefix that all of these keys have, if they do."""
    return next((prefix for prefix in PREFIXES if keys and all(key.startswith(prefix) for key in keys)), None)


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")


def _with_adapter(model: Any, resolved: ResolvedModel, device: str) -> Any:
    from peft import PeftModel

    doing = f"The adapter does not fit {resolved.id!r}; was it trained on another model?"
    with refusing(doing, code="adapter_mismatch"), warnings.catch_warnings():
        _resize_embeddings(model, resolved)
        # PEFT only warns of weights that the adapter's file lacks, and says nothing of those that find no place.
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        adapted = PeftModel.from_pretrained(
            model,
            str(resolved.adapter_path),
            is_trainable=False,
            torch_device="cpu" if device == "meta" else device,
            low_cpu_mem_usage=device == "meta",
            config=_adapter_config(resolved),
        )
    _check_adapter_loaded(adapted, resolved)
    return adapted


def _check_adapter_loaded(adapted: Any, resolved: ResolvedModel) -> None:
    """Raise `ModelRefused` for weights of a LoRA that find no place in the model."""
    from peft import get_peft_model_state_dict

    if adapted.peft_config["default"].peft_type != "LORA":
        return  # Other types save what their own configuration says once more.
    places = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    left = sorted(key for key in _adapter_tensors(resolved).shapes if ".lora_" in key and key not in places)
    if left:
        raise ModelRefused(
            "adapter_mismatch",
            f"The adapter does not fit {resolved.id!r}; was it trained on another model? {len(left)} of its weights "
            f"find no place ({_some(left)}).",
        )


def _adapter_tensors(resolved: ResolvedModel) -> Tensors:
    assert resolved.adapter_path is not None
    return read_tensors([resolved.adapter_path / "adapter_model.safetensors"], "adapter")


def _adapter_config(resolved: ResolvedModel) -> Any:
    """The adapter's configuration; how its weights were initialised is of no account, since they are all read."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(resolved.adapter_path))
    if isinstance(getattr(config, "init_lora_weights", None), str):
        config.init_lora_weights = True
    if getattr(config, "eva_config", None) is not None:
        config.eva_config = None
    config.inference_mode = True
    return config


def _resize_embeddings(model: Any, resolved: ResolvedModel) -> None:
    """Give the model as many embeddings as the adapter was saved with, where it was saved with its own."""
    shapes = _adapter_tensors(resolved).shapes
    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embeddings)
    own = re.compile(rf"(^|\.){re.escape(name)}\.(modules_to_save\.|base_layer\.)?(default\.)?weight$")
    rows = {shape[0] for key, shape in shapes.items() if len(shape) == 2 and own.search(key)}
    if rows and rows != {embeddings.weight.shape[0]}:
        model.resize_token_embeddings(rows.pop(), mean_resizing=False)
