"""LoRA weights on a policy: put on for training, saved in the folder format of PEFT, taken off again."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from minirec.api_schemas import ModelReference
from minirec.api_schemas.training import GrpoSettings
from minirec.policy.load import keep_head_fast
from minirec.policy.policy import Policy

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@contextmanager
def with_lora(policy: Policy, grpo: GrpoSettings) -> Iterator[Policy]:
    """Return the policy with fresh LoRA weights on every linear layer but the output head (docs/method.md, section 7).

    The weights are float32 whatever the model's dtype, and start as the identity. The policy that came in shares its
    modules with the one inside, and is as it was once the block ends. Raises ValueError for a policy that carries an
    adapter already: what is trained here would only mean something on top of that one.
    """
    if isinstance(policy.model, PeftModel):
        raise ValueError("this policy carries an adapter already; train on the model without one, or merge it first")
    config = LoraConfig(
        r=grpo.lora_rank,
        lora_alpha=grpo.lora_alpha,
        lora_dropout=grpo.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[policy.device] if policy.device.type == "cuda" else []):
        torch.manual_seed(grpo.seed)
        model: Any = get_peft_model(policy.model, config)
    hook = keep_head_fast(model)
    try:
        yield Policy(model, policy.tokenizer)
    finally:
        hook.remove()
        model.unload().eval()


def adapter_tensors(policy: Policy) -> dict[str, Tensor]:
    """Return the LoRA weights by name, on the CPU."""
    tensors = get_peft_model_state_dict(policy.model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}


def set_adapter_tensors(policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    """Put saved LoRA weights back. Raises ValueError where they are not exactly this policy's."""
    expected = adapter_tensors(policy)
    wrong = [name for name in {*tensors, *expected} if _shape(tensors, name) != _shape(expected, name)]
    if wrong:
        raise ValueError(f"the saved adapter does not fit this model, at {min(wrong)}: was it trained on another one?")
    set_peft_model_state_dict(policy.model, dict(tensors))


def save_adapter(policy: Policy, folder: Path) -> None:
    """Write the adapter as PEFT reads it; the same weights give the same bytes on every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapter_tensors(policy), folder / WEIGHTS)
    model: Any = policy.model
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    # A path of this machine and the random order of a set would change the content hash of equal adapters. Who knows
    # what the model is called says so afterwards: `name_base`.
    config.base_model_name_or_path = None
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))


def name_base(folder: Path, model: ModelReference) -> None:
    """Write into a saved adapter which model it is for, as `base_model_name_or_path`, which other tools look for.

    A hub model is named with its commit. A local one is `./ID`, its folder within the models folder: the name of a
    folder alone would be taken for one of the hub.
    """
    path = folder / CONFIG
    is_hub = model.source == "hub"
    named = {
        "base_model_name_or_path": model.id if is_hub else f"./{model.id}",
        "revision": model.revision if is_hub else None,
    }
    config = json.loads(path.read_text()) | named
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def load_adapter(policy: Policy, folder: Path) -> None:
    """Read what `save_adapter` wrote into a policy that has LoRA weights. Raises ValueError where they do not fit."""
    set_adapter_tensors(policy, load_file(folder / WEIGHTS))


def _shape(tensors: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return tensors[name].shape if name in tensors else None
