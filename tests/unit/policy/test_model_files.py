"""Files that no model can be made of are refused by name, with what to do, before any library reads them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.policy.chat import open_chat
from minirec.policy.load import load_policy
from minirec.policy.reference import ModelRefused, ResolvedModel, resolve
from minirec.policy.weights import load_model
from tests.unit.policy.files import change_json, write_tensors

Spoil = Callable[[Path], object]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 269060552\n"


@pytest.fixture
def root(tmp_path: Path, models_root: Path) -> Path:
    """A models folder of one's own with the tiny model."""
    shutil.copytree(models_root / "tiny", tmp_path / "models" / "tiny")
    return tmp_path / "models"


def resolved(root: Path, adapter: str | None = None) -> ResolvedModel:
    adapters = None if adapter is None else AdapterReference(source="local", id=adapter)
    return resolve(ModelReference(source="local", id="tiny", adapter=adapters), models_root=root)


def refusal(run: Callable[[], object]) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        run()
    return caught.value


def cut(file: str, part: float) -> Spoil:
    def run(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * part)])

    return run


def write(file: str, content: bytes | str) -> Spoil:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def change(file: str, **fields: Any) -> Spoil:
    return lambda folder: change_json(folder / file, **fields)


def cast(dtype: str) -> Spoil:
    return lambda folder: write_tensors(folder / "model.safetensors", {"model.embed_tokens.weight": (300, 32)}, dtype)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (write("model.safetensors", LFS), ["model.safetensors", "Git LFS pointer", "git lfs pull"]),
        (write("tokenizer.json", LFS), ["tokenizer.json", "Git LFS pointer"]),
        (cut("model.safetensors", 0.5), ["model.safetensors", "cut off"]),
        (cut("model.safetensors", 0.0), ["model.safetensors", "0 bytes"]),
        (write("model.safetensors", (2**62).to_bytes(8, "little") + b"x" * 99), ["model.safetensors", "header"]),
        (write("model.safetensors", (2).to_bytes(8, "little") + b"[]"), ["model.safetensors", "header"]),
        (cut("config.json", 0.5), ["config.json", "not valid JSON", "cut off"]),
        (write("config.json", ""), ["config.json", "is empty"]),
        (write("config.json", "[1, 2]"), ["config.json", "a list", "object"]),
        (write("tokenizer_config.json", "[]"), ["tokenizer_config.json", "a list"]),
        (write("generation_config.json", '"text"'), ["generation_config.json", "str"]),
        (write("config.json", '{"a":' * 50_000), ["config.json", "JSON"]),
        (write("chat_template.jinja", "x" * (1024**2 + 1)), ["chat_template.jinja", "1,048,577 bytes"]),
        (change("config.json", num_hidden_layers=10**6), ["num_hidden_layers", "1000000", "1,000"]),
        (change("config.json", hidden_size="big"), ["hidden_size", "'big'"]),
        (change("config.json", vocab_size=4_000_000), ["at least 128,000,064 parameters"]),
        (change("config.json", quantization_config={"quant_method": "gptq"}), ["quantised", "gptq"]),
        (change("config.json", text_config={"quantization_config": {"quant_method": "mxfp4"}}), ["quantised"]),
        (cast("I32"), ["quantised", "model.embed_tokens.weight", "I32"]),
        (change("config.json", num_labels=10**12), ["num_labels", "1,000,000"]),
        (cast("F8_E4M3"), ["quantised", "model.embed_tokens.weight", "F8_E4M3"]),
    ],
)
def test_files_that_cannot_be_read_are_named(root: Path, spoil: Spoil, words: list[str]) -> None:
    spoil(root / "tiny")
    refused = refusal(lambda: resolved(root))
    assert refused.code == "model_unusable"
    assert "tiny" in str(refused)
    for word in words:
        assert word in str(refused)


@pytest.mark.parametrize("nested", [False, True])
def test_a_configuration_cannot_have_kernels_fetched(root: Path, nested: bool) -> None:
    field: dict[str, Any] = {"_attn_implementation": "team/kernel"}
    change_json(root / "tiny" / "config.json", **({"text_config": field} if nested else field))
    refused = refusal(lambda: resolved(root))
    assert refused.code == "unsafe_model"
    assert "team/kernel" in str(refused)


def test_other_files_may_hold_anything(root: Path) -> None:
    (root / "tiny" / "notes.json").write_text("[1, 2]")
    assert resolved(root).id == "tiny"


@pytest.fixture
def readable_root(models_root: Path) -> Iterator[Path]:
    """A models folder that any user can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(models_root / "tiny", folder / "tiny")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_of_another_user_is_said_to_be_one(readable_root: Path, file: str) -> None:
    """transformers 5 saves weights with mode 0600: a worker in a container is often somebody else."""
    (readable_root / "tiny" / file).chmod(0o600 if os.geteuid() == 0 else 0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        refused = refusal(lambda: resolved(readable_root))
    finally:
        os.seteuid(before)
    assert refused.code == "model_unusable"
    for word in (file, "mode 0", "chmod -R a+rX"):
        assert word in str(refused)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (change("tokenizer.json", model={"type": "NewKind", "table": []}), ["tokenizer", "newer", "tokenizers 0."]),
        (change("tokenizer.json", added_tokens={"a": 1}), ["tokenizer"]),
        (change("tokenizer_config.json", added_tokens_decoder=[1]), ["tokenizer"]),
        (change("config.json", model_type="not-a-model"), ["config.json", "not-a-model"]),
        (change("config.json", rope_scaling=[1, 2]), ["tiny"]),
    ],
)
def test_what_libraries_raise_becomes_a_refusal(root: Path, spoil: Spoil, words: list[str]) -> None:
    spoil(root / "tiny")
    refused = refusal(lambda: load_policy(resolved(root), device="cpu"))
    assert refused.code == "model_unusable"
    for word in words:
        assert word in str(refused)


def test_a_machine_that_fails_is_not_the_models_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is final; these may pass."""
    from minirec.policy import weights

    for error in (MemoryError(), OSError(5, "Input/output error")):

        def fail(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(weights, "_pretrained", fail)
        with pytest.raises(type(error)):
            load_policy(resolved(root), device="cpu")


def rename(rule: Callable[[str], str | None]) -> Spoil:
    """Give every weight the name that `rule` makes of its own; those with None are left out."""

    def run(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        named = {rule(name): weight for name, weight in weights.items()}
        kept = {name: weight for name, weight in named.items() if name is not None}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    return run


def narrow(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(weights | {name: weights[name][:8].clone()}, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rename(lambda name: None if ".layers.1." in name else name), ["9 of the", "missing", "model.layers.1."]),
        (rename(lambda name: f"_orig_mod.{name}"), ["20 weights", "'_orig_mod.'", "torch.compile"]),
        (rename(lambda name: f"module.{name}"), ["20 weights", "'module.'", "DistributedDataParallel"]),
        (lambda folder: change_json(folder / "config.json", num_hidden_layers=1), ["9 weights", "no place"]),
        (narrow, ["another shape", "mlp.up_proj", "(8, 32)"]),
    ],
)
def test_weights_that_are_missing_or_left_over_are_counted_and_named(
    root: Path, spoil: Spoil, words: list[str], device: str
) -> None:
    """Without weights, as at `prepare`, and with them."""
    spoil(root / "tiny")
    import torch

    refused = refusal(lambda: load_model(resolved(root), torch.float32, device=device))
    assert refused.code == "weights_mismatch"
    for word in words:
        assert word in str(refused)


def test_tied_and_recomputed_weights_may_be_there_or_not(root: Path) -> None:
    path = root / "tiny" / "model.safetensors"
    weights = load_file(path)
    assert "lm_head.weight" not in weights
    more = {
        "lm_head.weight": weights["model.embed_tokens.weight"].clone(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": weights["model.norm.weight"][:4].clone(),
    }
    save_file(weights | more, path, metadata={"format": "pt"})
    assert load_policy(resolved(root), device="cpu").hidden_size == 32


def adapter_of(root: Path, *, layers: tuple[int, ...] = (0, 1), **fields: Any) -> str:
    """The files of a LoRA adapter of the tiny model that changes nothing."""
    folder = root / "lora"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        shapes |= {f"{prefix}.lora_A.weight": (2, 32), f"{prefix}.lora_B.weight": (32, 2)}
    write_tensors(folder / "adapter_model.safetensors", shapes)
    return "lora"


@pytest.mark.parametrize("fields", [{}, {"init_lora_weights": "gaussian"}, {"exclude_modules": ["mlp"]}])
def test_a_plain_adapter_is_loaded(root: Path, fields: dict[str, Any]) -> None:
    assert load_policy(resolved(root, adapter_of(root, **fields)), device="cpu").hidden_size == 32


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"r": 10**7}, "rank"),
        ({"r": True}, "rank"),
        ({"rank_pattern": {"q_proj": 10**6}}, "rank"),
        ({"target_modules": "(.*)*(.*)*(.*)*!"}, "target_modules"),
        ({"layers_pattern": ["layers", "(a+)+$"]}, "layers_pattern"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
        ({"rank_pattern": [1]}, "rank_pattern"),
        ({"init_lora_weights": "pissa_niter_1000000"}, "init_lora_weights"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
    ],
)
def test_adapters_that_take_for_ever_or_change_the_base_are_refused(
    root: Path, fields: dict[str, Any], word: str
) -> None:
    refused = refusal(lambda: resolved(root, adapter_of(root, **fields)))
    assert refused.code == "adapter_mismatch"
    assert word in str(refused)


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("layers", "words"), [((0,), ["missing adapter keys", "layers.1."]), ((0, 1, 7), ["2 of its weights", "layers.7."])]
)
def test_an_adapters_weights_are_accounted_for_too(
    root: Path, layers: tuple[int, ...], words: list[str], device: str
) -> None:
    import torch

    adapter = adapter_of(root, layers=layers)
    refused = refusal(lambda: load_model(resolved(root, adapter), torch.float32, device=device))
    assert refused.code == "adapter_mismatch"
    for word in words:
        assert word in str(refused)


def test_a_cut_adapter_is_named(root: Path) -> None:
    adapter = adapter_of(root)
    cut("adapter_model.safetensors", 0.7)(root / adapter)
    assert "lora/adapter_model.safetensors" in str(refusal(lambda: resolved(root, adapter)))


def test_the_tokenizer_opens_without_weights(root: Path) -> None:
    found = resolved(root)
    policy = load_policy(found, device="cpu")
    (root / "tiny" / "model.safetensors").unlink()
    chat = open_chat(found)
    assert (chat.end_ids, chat.pad_id, chat.max_positions) == (policy.end_ids, policy.pad_id, policy.max_positions)
