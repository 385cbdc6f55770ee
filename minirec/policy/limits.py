"""Bounds on what a model's configuration may ask for, checked by arithmetic before anything is built. No torch.

Sizes far above these exist in no model, and take minutes or all of the memory to find out about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from minirec.policy.errors import ModelRefused
from minirec.policy.files import Tensors

BOUNDS: Mapping[str, int] = {
    "num_hidden_layers": 1_000,
    "n_layer": 1_000,
    "num_layers": 1_000,
    "n_layers": 1_000,
    "hidden_size": 131_072,
    "n_embd": 131_072,
    "d_model": 131_072,
    "intermediate_size": 4_194_304,
    "vocab_size": 4_194_304,
    "num_attention_heads": 8_192,
    "num_key_value_heads": 8_192,
    "head_dim": 65_536,
    "num_experts": 16_384,
    "num_local_experts": 16_384,
    "n_routed_experts": 16_384,
    "num_labels": 1_000_000,
}
"""Largest value of each size in a configuration."""
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
WIDTHS = ("hidden_size", "n_embd", "d_model")
SPARE = 2
"""Factor by which the parameters implied by a configuration may exceed those in the files."""
QUANTIZED_TENSOR = re.compile(
    r"\.(qweight|qzeros|g_idx|SCB|absmax|quant_map|weight_scale|weight_scale_inv|nested_absmax)$"
)
KERNEL_KEYS = ("_attn_implementation", "_experts_implementation", "attn_implementation", "experts_implementation")
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
MAX_RANK = 4_096
"""Largest rank of an adapter."""
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` under which the adapter's file says everything. The others change the base weights."""
NAME_FIELDS = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "target_parameters")
PATTERN_FIELDS = ("rank_pattern", "alpha_pattern")


def check_config(config: Mapping[str, Any], tensors: Tensors, name: str) -> None:
    """Check the sizes that a model's `config.json` asks for.

    Raises `ModelRefused`: `unsafe_model` for kernels to be fetched from a hub, `model_unusable` for sizes out of
    bounds, for more parameters than the weights in `tensors` have, and for quantised weights.
    """
    for part in _parts(config):
        for key in KERNEL_KEYS:
            _refuse_kernels(part.get(key), key, name)
        for key, most in BOUNDS.items():
            _check_size(part.get(key), key, most, name)
    _refuse_quantised(config, tensors, name)
    text = config.get("text_config")
    _check_parameters(text if isinstance(text, dict) else config, tensors, name)


def check_adapter_config(config: Mapping[str, Any], name: str) -> None:
    """Check what a PEFT `adapter_config.json` asks for.

    Raises `ModelRefused` with the code `adapter_mismatch`: for ranks out of bounds, for names of modules that are
    regular expressions, and for initialisations that change the base model's weights.
    """
    ranks = _mapping(config, "rank_pattern", name)
    for rank in (config.get("r"), *ranks.values()):
        if rank is not None and (type(rank) is not int or not 1 <= rank <= MAX_RANK):
            raise _odd_adapter(name, f"its rank r is {rank!r}; 1 to {MAX_RANK} are accepted")
    for field in NAME_FIELDS:
        _check_names(config.get(field), field, name)
    for field in PATTERN_FIELDS:
        _check_names(list(_mapping(config, field, name)), field, name)
    start = config.get("init_lora_weights", True)
    if not (start is None or isinstance(start, bool) or start in PLAIN_STARTS):
        raise _odd_adapter(
            name,
            f"init_lora_weights {start!r} changes the base model's weights when it is loaded. Save it as a plain LoRA: "
            "`save_pretrained(..., path_initial_model_for_weight_conversion=...)`",
        )
    for field in ("loftq_config", "corda_config", "lora_ga_config"):
        if config.get(field):
            raise _odd_adapter(name, f"it has a {field}; save it as a plain LoRA")


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configuration and those nested in it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _parts(value)


def _refuse_kernels(value: Any, key: str, name: str) -> None:
    names = value.values() if isinstance(value, dict) else [value]
    for kernel in names:
        if isinstance(kernel, str) and ("/" in kernel or ":" in kernel):
            raise ModelRefused(
                "unsafe_model",
                f"{name}/config.json asks in {key!r} for the code {kernel!r} to be fetched from a hub. Remove the key.",
            )


def _check_size(value: Any, key: str, most: int, name: str) -> None:
    for size in value if isinstance(value, list) else [value]:
        if size is not None and (type(size) is not int or not 0 <= size <= most):
            raise ModelRefused(
                "model_unusable",
                f"{name}/config.json has {key} = {size!r}; a whole number up to {most:,} belongs there.",
            )


def _refuse_quantised(config: Mapping[str, Any], tensors: Tensors, name: str) -> None:
    advice = "Name the unquantised checkpoint: gradients and hidden states are needed in full precision."
    for part in _parts(config):
        for key in ("quantization_config", "compression_config"):
            if part.get(key):
                method = part[key].get("quant_method") if isinstance(part[key], dict) else None
                raise ModelRefused(
                    "model_unusable", f"{name!r} is a quantised checkpoint ({method or key} in config.json). {advice}"
                )
    for tensor, dtype in tensors.dtypes.items():
        # Buffers of masks and positions are whole numbers, weights never are.
        if (
            (tensor.endswith(".weight") and dtype.startswith(("I", "U", "BOOL")))
            or dtype.startswith(("F8", "F4", "F6"))
            or QUANTIZED_TENSOR.search(tensor)
        ):
            raise ModelRefused(
                "model_unusable", f"{name!r} is a quantised checkpoint: its tensor {tensor!r} is {dtype}. {advice}"
            )


def _check_parameters(config: Mapping[str, Any], tensors: Tensors, name: str) -> None:
    """Compare the least that any transformer of these sizes has with what is in the files."""
    width = _first(config, WIDTHS)
    layers, words = _first(config, LAYERS), _first(config, ("vocab_size",))
    least = width * (words + layers)
    if tensors.elements and least > SPARE * tensors.elements:
        raise ModelRefused(
            "model_unusable",
            f"{name}/config.json implies at least {least:,} parameters (vocab_size {words:,}, hidden size {width:,}, "
            f"{layers:,} layers), and the weights in the folder have {tensors.elements:,}. One of them is not the "
            "other's.",
        )


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((value for key in keys if type(value := config.get(key)) is int), 0)


def _mapping(config: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any]:
    value = config.get(field) or {}
    if not isinstance(value, dict):
        raise _odd_adapter(name, f"{field} is {type(value).__name__}, not an object")
    return value


def _check_names(value: Any, field: str, name: str) -> None:
    if value is None or value == "all-linear":
        return
    for module in value if isinstance(value, list) else [value]:
        if not isinstance(module, str) or not PLAIN_NAME.fullmatch(module):
            raise _odd_adapter(name, f"{field} has {str(module)[:80]!r}; list the names of modules, without patterns")


def _odd_adapter(name: str, reason: str) -> ModelRefused:
    return ModelRefused("adapter_mismatch", f"The adapter {name!r} is not loaded: {reason}.")
