"""Adapters: where they sit, how they are stored, and that they come off again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from peft import PeftConfig

from minirec.api_schemas import ModelReference
from minirec.api_schemas.training import GrpoSettings
from minirec.policy.policy import Policy
from minirec.training.lora import load_adapter, name_base, save_adapter, with_lora

GRPO = GrpoSettings(lora_rank=4, lora_alpha=128)


def test_every_linear_layer_but_the_output_head_is_adapted(policy: Policy) -> None:
    linear = {name for name, module in policy.model.named_modules() if isinstance(module, torch.nn.Linear)}
    with with_lora(policy, GRPO) as adapted:
        found = {
            re.sub(r"^base_model\.model\.|\.lora_[AB].*", "", name)
            for name, weight in adapted.model.named_parameters()
            if weight.requires_grad
        }
    assert found == linear - {"lm_head"}


def test_a_fresh_adapter_changes_nothing_and_comes_off_whole(policy: Policy) -> None:
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before = policy.model(ids).logits
        with with_lora(policy, GRPO) as adapted:
            assert torch.equal(adapted.model(ids).logits, before)
            for weight in adapted.model.parameters():
                if weight.requires_grad:
                    weight += 1
            assert not torch.equal(adapted.model(ids).logits, before)
        assert torch.equal(policy.model(ids).logits, before)
    assert not any("lora" in name for name, _ in policy.model.named_modules())


def test_the_seed_alone_decides_the_first_weights(policy: Policy, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        torch.rand(3)
        with with_lora(policy, GRPO.model_copy(update={"seed": seed})) as adapted:
            save_adapter(adapted, tmp_path / name)
    one, again, two = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "again", "two")
    )
    assert one == again
    assert one["adapter_model.safetensors"] != two["adapter_model.safetensors"]


def test_the_stored_configuration_names_no_place_of_this_machine(policy: Policy, tmp_path: Path) -> None:
    with with_lora(policy, GRPO) as adapted:
        save_adapter(adapted, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 128)
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.parametrize(
    ("source", "named", "revision"), [("hub", "owner/model", "c0ffee"), ("local", "./owner/model", None)]
)
def test_a_saved_adapter_can_name_its_model_and_stays_one(
    policy: Policy, tmp_path: Path, source: str, named: str, revision: str | None
) -> None:
    with with_lora(policy, GRPO) as adapted:
        save_adapter(adapted, tmp_path)
        before = json.loads((tmp_path / "adapter_config.json").read_text())
        name_base(
            tmp_path, ModelReference.model_validate({"source": source, "id": "owner/model", "revision": "c0ffee"})
        )
        load_adapter(adapted, tmp_path)
    config = PeftConfig.from_pretrained(str(tmp_path))
    assert (config.base_model_name_or_path, config.revision, config.r) == (named, revision, 4)
    after = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {name for name in after if after[name] != before.get(name)} <= {"base_model_name_or_path", "revision"}


def test_an_adapter_of_another_shape_is_refused(policy: Policy, tmp_path: Path) -> None:
    with with_lora(policy, GRPO) as adapted:
        save_adapter(adapted, tmp_path)
    with (
        with_lora(policy, GRPO.model_copy(update={"lora_rank": 2})) as narrower,
        pytest.raises(ValueError, match=r"does not fit this model, at .*lora_A"),
    ):
        load_adapter(narrower, tmp_path)


def test_a_policy_with_an_adapter_takes_no_second_one(policy: Policy) -> None:
    with (
        with_lora(policy, GRPO) as adapted,
        pytest.raises(ValueError, match="carries an adapter already"),
        with_lora(adapted, GRPO),
    ):
        pass
