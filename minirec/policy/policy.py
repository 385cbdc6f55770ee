"""A loaded model as a policy: what it needs to know of its tokens, and one forward step that also yields z."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from minirec.data.prompts import ANSWER
from minirec.policy.chat import Chat, flat_ids
from minirec.policy.reference import ResolvedModel

MAX_ROWS_CUDA, MAX_ROWS_CPU = 1024, 64
"""Beyond these, more rows at once gain nothing."""
CPU_CACHE_BYTES = 2 * 1024**3
CUDA_SHARE = 0.6
"""Of the GPU's free memory for rollouts; the rest is for what the estimate leaves out."""


@dataclass(frozen=True)
class Step:
    """What one forward pass says at the last position of every row, or at its last K."""

    logits: Tensor
    """(R, V) or (R, K, V), the model's own logits."""
    z: Tensor
    """(R, d) or (R, K, d), the hidden state that the output embedding reads: last layer, after the final norm."""


class Policy:
    """One causal language model with two heads and no parameters of its own (docs/method.md, section 1)."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, source: ResolvedModel | None = None) -> None:
        """`model` is a transformers `PreTrainedModel`, or a PEFT wrapper around one; `source` its files, if any."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.source = source
        head = model.get_output_embeddings()
        if head is None:
            raise ValueError(f"{type(model).__name__} has no output embedding, so it cannot be a policy")
        self._head: nn.Module = head
        self.config: Any = model.config.get_text_config()
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        if self.device.type == "cuda":
            # cuDNN builds a kernel for every new shape, which takes longer than the batch that has it.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.hidden_size: int = self.config.hidden_size
        self.chat = Chat(
            tokenizer,
            end_ids=_end_ids(model, tokenizer),
            max_positions=getattr(self.config, "max_position_embeddings", None),
            name="the model" if source is None else source.id,
        )
        self.answer_ids = self.chat.answer_ids
        self.end_ids = self.chat.end_ids
        self.pad_id = self.chat.pad_id
        self.attention_only = all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self.new_cache(hybrid=True).layers
        )
        self.fixed_decoding: bool | None = None
        """Whether rollouts are decoded with a cache of fixed size; None: on CUDA, if a first batch turns out right."""
        self.graphs = True
        """Whether a step of that is recorded as a CUDA graph, until a model does what a graph cannot hold."""
        self._accepted = frozenset(inspect.signature(_innermost(model).forward).parameters)

    def new_cache(self, *, hybrid: bool | None = None) -> Cache:
        """Return an empty cache: keys and values, or for models with other kinds of layers whatever those need."""
        if hybrid is None:
            hybrid = not self.attention_only
        # Without the configuration, sliding-window layers keep all keys and the mask does the sliding: rows can then
        # be laid out with padding in the middle, and repeated and dropped by one rule.
        return DynamicCache(config=self.config) if hybrid else DynamicCache()

    def step(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, cache: Cache) -> Step:
        """Feed tokens (R, L) after the cache's, return logits and z at the last one; the cache grows by L."""
        read = self.read(input_ids, attention_mask, position_ids, cache, keep=1)
        return Step(logits=read.logits[:, -1], z=read.z[:, -1])

    def read(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, cache: Cache, *, keep: int) -> Step:
        """Do as `step` does, and return logits and z at the last `keep` tokens.

        Args:
            input_ids: (R, L).
            attention_mask: (R, cached + L).
            position_ids: (R, L).
            cache: Keys and values so far; grows by L.
            keep: Tokens at the end of each row.
        """
        arguments: dict[str, Any] = {"logits_to_keep": keep, "position_ids": position_ids}
        arguments = {name: value for name, value in arguments.items() if name in self._accepted}
        with self._capture() as captured, torch.inference_mode():
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True, **arguments
            )
        return Step(logits=output.logits[:, -keep:], z=captured[-1][:, -keep:])

    @property
    def head_weight(self) -> Tensor:
        """W (V, d) of the output embedding: logits are W z, capped where `logit_cap` says so."""
        weight: Tensor = self._head.weight  # type: ignore[assignment]
        return weight

    @property
    def logit_cap(self) -> float | None:
        """Soft cap of the logits, where the model has one."""
        cap: float | None = getattr(self.config, "final_logit_softcapping", None)
        return cap

    @cached_property
    def closing_ids(self) -> frozenset[int]:
        """Tokens that can complete `<answer>`: those with a `>` in their vocabulary entry."""
        names = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        return frozenset(index for index, name in enumerate(names) if name is not None and ">" in name)

    @cached_property
    def may_end(self) -> npt.NDArray[np.bool_]:
        """(V,), tokens after which a rollout may be done."""
        may = np.zeros(len(self.head_weight), dtype=bool)
        may[[token for token in (*self.closing_ids, *self.end_ids) if token < len(may)]] = True
        return may

    def says_answer(self, tokens: list[int]) -> bool:
        """Return whether the text of these tokens contains `<answer>`, however it was cut into tokens."""
        return ANSWER in self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    @property
    def max_positions(self) -> int | None:
        """Longest sequence the model was made for, in tokens; None where it does not say."""
        return self.chat.max_positions

    @property
    def sliding_window(self) -> int | None:
        """Tokens that a sliding-window layer looks back, where there is one."""
        window: int | None = getattr(self.config, "sliding_window", None)
        return window

    def rows_that_fit(self, length: int, *, repeats: int = 1) -> int:
        """Return how many sequences of a length to decode together: bounded by memory, and by what gains anything.

        `repeats` of them share a prompt, which is read once. On a GPU a power of two, so that it is the same while the
        free memory is nearly the same. An estimate: who runs out of memory takes fewer (`in_batches`).
        """
        heads: int = getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads
        size: int = getattr(self.config, "head_dim", None) or self.hidden_size // self.config.num_attention_heads
        per_token: int = 2 * self.config.num_hidden_layers * heads * size * self.dtype.itemsize
        if self.device.type != "cuda":
            return max(1, min(MAX_ROWS_CPU, CPU_CACHE_BYTES // (per_token * length)))
        inner: int = getattr(self.config, "intermediate_size", None) or 4 * self.hidden_size
        # Every token of a prompt at once in a layer, and of a row its logits: as they are, again, and sorted.
        activations = (6 * self.hidden_size + 3 * inner) * self.dtype.itemsize
        per_row = length * (per_token + activations // repeats) + 16 * len(self.head_weight)
        fit = int(CUDA_SHARE * free_bytes(self.device)) // per_row
        return 1 << (max(1, min(MAX_ROWS_CUDA, fit)).bit_length() - 1)

    def samples_at_once(self, group: int) -> int:
        """Return how many samples of `group` rollouts each keep the device busy, if memory takes them."""
        return max(1, MAX_ROWS_CUDA // group) if self.device.type == "cuda" else 1

    @contextmanager
    def _capture(self) -> Iterator[list[Tensor]]:
        captured: list[Tensor] = []

        def remember(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            captured.append(arguments[0])

        hook = self._head.register_forward_pre_hook(remember)
        try:
            yield captured
        finally:
            hook.remove()


def free_bytes(device: torch.device) -> int:
    """Return the memory of a GPU that nobody uses, what this process keeps for reuse included."""
    kept: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _innermost(model: Any) -> nn.Module:
    """The transformers model inside a PEFT wrapper, whose own signature only says `**kwargs`."""
    base: nn.Module = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base


def _end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a turn, according to the tokenizer, the model and its generation settings.

    Those beyond the vocabulary, which configurations of other models of a family leave behind, can never be drawn.
    """
    generation = getattr(model, "generation_config", None)
    ends = flat_ids([tokenizer.eos_token_id, model.config.eos_token_id, getattr(generation, "eos_token_id", None)])
    return {token for token in ends if token < model.get_input_embeddings().weight.shape[0]}
