"""What is measured on: models with trained and with random weights, made-up samples, a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config

from benchmarks.scoring import catalogue_of, samples_of
from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.policy import scoring
from minirec.policy.policy import Policy
from minirec.policy.rollouts import roll_out
from minirec.policy.tiny import train_tokenizer

Result = dict[str, Any]
QWEN2_15B = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
}
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
}


@dataclass(frozen=True)
class Bench:
    """What is measured on, and how much of it."""

    device: torch.device
    out: Path
    smollm2: Path | None
    small: bool

    @property
    def rollouts(self) -> RolloutSettings:
        return RolloutSettings(group_size=4, max_new_tokens=6 if self.small else 128)

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        return catalogue_of(40 if self.small else 2000)

    def samples(self, count: int) -> list[Sample]:
        return samples_of(4 if self.small else count, len(self.items))

    @contextmanager
    def model(self, name: str, dtype: str) -> Iterator[Policy]:
        """A policy; its memory is given back at the end."""
        policy = self._trained(dtype) if name == "smollm2" else self._random(name, dtype)
        policy.model.requires_grad_(False)
        # On a CPU, so that the same code runs.
        policy.fixed_decoding = None if self.device.type == "cuda" else True
        try:
            yield policy
        finally:
            del policy.model, policy
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _trained(self, dtype: str) -> Policy:
        if self.smollm2 is None:
            raise Skipped("no SmolLM2-135M: give --smollm2 a folder of transformers' files, or the GGUF file")
        folder = self.smollm2
        if folder.is_file():
            from minirec.policy.convert import convert_gguf

            folder = convert_gguf(folder, self.out / "SmolLM2-135M-Instruct")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(self.device)
        return Policy(model, AutoTokenizer.from_pretrained(folder))

    def _random(self, name: str, dtype: str) -> Policy:
        """A model of a known shape with random weights, and a tokenizer that knows a part of its words."""
        torch.manual_seed(0)
        tokenizer = train_tokenizer((item["title"] for item in catalogue_of(2000)), 900)
        sizes = TINY if self.small else {"qwen2-1.5b": QWEN2_15B, "smollm2-shape": SMOLLM2_135M}[name]
        kind = LlamaConfig if name == "smollm2-shape" else Qwen2Config
        config = kind(**sizes, tie_word_embeddings=True, max_position_embeddings=8192, eos_token_id=2, pad_token_id=0)
        with torch.device(self.device):
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        return Policy(model, tokenizer)


class Skipped(Exception):
    """A part cannot be measured here; the message says why."""


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds until the device is done, and what came out."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


def peak_gib(device: torch.device, *, reset: bool = False) -> float | None:
    """Most memory that was in use on the GPU since the last reset."""
    if device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(device) / 2**30
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
    return round(most, 2)


@contextmanager
def recorded() -> Iterator[list[Result]]:
    """The batches in which samples are rolled out, with their seconds and tokens."""
    batches: list[Result] = []

    def recording(policy: Policy, prompts: Sequence[Sequence[int]], *arguments: Any) -> Any:
        seconds, rolled = timed(partial(roll_out, policy, prompts, *arguments), policy.device)
        batches.append({"samples": len(prompts), "seconds": seconds, "drawn": int(rolled.sampled.sum())})
        return rolled

    with mock.patch.object(scoring, "roll_out", recording):
        yield batches
