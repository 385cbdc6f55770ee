"""A random tiny chat model, built in a fraction of a second: real files and real code paths for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTEXT_LENGTH = 2048


def build_tiny_model(
    path: str | Path,
    *,
    texts: Iterable[str],
    hidden_size: int = 32,
    vocab_size: int = 512,
    seed: int = 0,
    family: Literal["llama", "qwen2"] = "llama",
) -> Path:
    """Save a random two-layer causal LM with its tokenizer, and return its folder.

    The same arguments give the same weights.

    Args:
        path: The folder.
        texts: What the tokenizer is trained on.
        hidden_size: A multiple of 8.
        vocab_size: At least 259: the bytes and three special tokens.
        seed: Of the weights.
        family: Which architecture.
    """
    path = Path(path)
    tokenizer = train_tokenizer(texts, vocab_size)
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=hidden_size // 8,
        num_key_value_heads=max(1, hidden_size // 16),
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT_LENGTH,
        # Ten times the usual width, or every prompt would end in nearly the same hidden state.
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Return a byte-level BPE tokenizer with a chat template, trained on texts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=CONTEXT_LENGTH,
        chat_template=CHAT_TEMPLATE,
    )
