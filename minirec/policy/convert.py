"""GGUF to safetensors: a quantized model file becomes a folder that any loader takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig


def convert_gguf(
    gguf: Path, target: Path, *, dtype: torch.dtype = torch.bfloat16, on_step: Callable[[str], None] | None = None
) -> Path:
    """Write the model and tokenizer of a GGUF file as a safetensors folder, and return the folder.

    The folder appears whole or not at all; one that is already there is kept as it is. `on_step` hears one line
    before each slow step. Raises ValueError for a model without an end-of-sequence token or chat template.
    """
    if target.exists():
        return target
    report = on_step or (lambda _line: None)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        report("reading the tokenizer")
        tokenizer = _read_tokenizer(gguf)
        report("reading the weights")
        model = _read_model(gguf, tokenizer, dtype)
        report("writing safetensors")
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        _make_readable(scratch)
        _move_into_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _read_model(gguf: Path, tokenizer: Any, dtype: torch.dtype) -> Any:
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    # transformers keeps a model that came from GGUF marked as quantized, and then refuses to save or train it: the
    # weights are plain by now, so they move into a fresh model without the mark.
    del config.quantization_config
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def _read_tokenizer(gguf: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
    if tokenizer.eos_token_id is None or not tokenizer.chat_template:
        raise ValueError(f"{gguf.name} has no end-of-sequence token or no chat template: take an instruct model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    fields = GGUFReader(gguf).fields
    architecture = fields["general.architecture"].contents()
    tokenizer.model_max_length = fields[f"{architecture}.context_length"].contents()
    pre = fields.get("tokenizer.ggml.pre")
    if pre is not None and pre.contents() == "smollm":
        # transformers does not read this field. The model was trained with every digit split off first; without it
        # white space before a number falls into other tokens.
        digits = pre_tokenizers.Digits(individual_digits=True)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    return tokenizer


def _make_readable(folder: Path) -> None:
    # Temporary folders and safetensors files are private to their owner; a worker may run as somebody else.
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)


def _move_into_place(scratch: Path, target: Path) -> None:
    try:
        os.rename(scratch, target)
    except OSError:
        # Another process may have been faster: its folder is as good as this one.
        if not target.exists():
            raise
