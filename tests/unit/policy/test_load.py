"""From files to a policy in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Gemma2Config

from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.policy import load
from minirec.policy.catalogue import embed_items
from minirec.policy.load import load_policy
from minirec.policy.reference import ModelRefused, ResolvedModel, resolve
from minirec.policy.tiny import build_tiny_model

Items = list[dict[str, Any]]


@pytest.fixture(scope="module")
def adapted_root(models_root: Path) -> Path:
    """The models folder, with a LoRA adapter of the tiny model that changes it visibly."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(models_root / "tiny")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(models_root / "lora")
    return models_root


def resolved(root: Path, *, model: str = "tiny", adapter: str | None = None, dtype: Any = "auto") -> ResolvedModel:
    adapters = None if adapter is None else AdapterReference(source="local", id=adapter)
    return resolve(ModelReference(source="local", id=model, adapter=adapters, dtype=dtype), models_root=root)


def test_the_last_policy_is_kept_and_only_the_last(models_root: Path) -> None:
    first = load_policy(resolved(models_root), device="cpu")
    assert load_policy(resolved(models_root), device="cpu") is first
    load_policy(resolved(models_root, dtype="bfloat16"), device="cpu")
    assert len(load._kept) == 1
    assert load_policy(resolved(models_root), device="cpu") is not first


def test_auto_is_float32_on_cpu_and_named_dtypes_are_obeyed(models_root: Path) -> None:
    assert load_policy(resolved(models_root), device="cpu").dtype == torch.float32
    assert load_policy(resolved(models_root, dtype="bfloat16"), device="cpu").dtype == torch.bfloat16


def test_an_adapter_changes_the_policy(adapted_root: Path, items: Items) -> None:
    plain = embed_items(load_policy(resolved(adapted_root), device="cpu"), items[:8])
    adapted = embed_items(load_policy(resolved(adapted_root, adapter="lora"), device="cpu"), items[:8])
    assert np.abs(plain - adapted).max() > 0.05


def test_an_adapter_gives_the_same_folded_in_or_beside_a_narrow_model(adapted_root: Path, items: Items) -> None:
    """bfloat16 keeps the adapter as a PEFT wrapper, so that hooks and caches must work through it."""
    folded = embed_items(load_policy(resolved(adapted_root, adapter="lora"), device="cpu"), items[:8])
    policy = load_policy(resolved(adapted_root, adapter="lora", dtype="bfloat16"), device="cpu")
    assert hasattr(policy.model, "peft_config")
    np.testing.assert_allclose(embed_items(policy, items[:8]), folded, atol=0.05)


def test_an_adapter_of_another_model_is_refused(adapted_root: Path) -> None:
    build_tiny_model(adapted_root / "wider", texts=["a b c"], hidden_size=64)
    with pytest.raises(ModelRefused, match="trained on another model") as caught:
        load_policy(resolved(adapted_root, model="wider", adapter="lora"), device="cpu")
    assert caught.value.code == "adapter_mismatch"


def test_an_adapter_whose_weights_find_no_place_is_refused(adapted_root: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(adapted_root / "lora" / "adapter_model.safetensors")
    broken = adapted_root / "renamed"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((adapted_root / "lora" / "adapter_config.json").read_bytes())
    save_file(
        {name.replace("layers", "blocks"): w for name, w in weights.items()}, broken / "adapter_model.safetensors"
    )
    with pytest.raises(ModelRefused) as caught:
        load_policy(resolved(adapted_root, adapter="renamed"), device="cpu")
    assert caught.value.code == "adapter_mismatch"


def test_files_that_are_no_language_model_are_refused(models_root: Path) -> None:
    path = build_tiny_model(models_root / "odd", texts=["a b c"])
    (path / "config.json").write_text('{"model_type": "not-a-model"}')
    with pytest.raises(ModelRefused, match="not-a-model"):
        load_policy(resolved(models_root, model="odd"), device="cpu")


def test_attention_without_a_fused_kernel_is_loaded_all_the_same(models_root: Path, items: Items) -> None:
    """Gemma 2, the published experiment's model, caps its attention scores."""
    path = build_tiny_model(models_root / "gemma2", texts=["a b c"])
    size = AutoModelForCausalLM.from_pretrained(path).config.vocab_size
    config = Gemma2Config(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    policy = load_policy(resolved(models_root, model="gemma2"), device="cpu")
    assert embed_items(policy, items[:4]).shape == (4, 32)


def test_a_configuration_cannot_choose_the_attention_code(models_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recent transformers fetch and run attention kernels that a configuration names."""
    asked: list[Any] = []
    original = AutoModelForCausalLM.from_pretrained

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(options["attn_implementation"])
        return original(*arguments, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", spy)
    load_policy(resolved(models_root, dtype="float16"), device="cpu")
    assert asked == ["sdpa"]
