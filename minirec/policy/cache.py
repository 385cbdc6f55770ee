"""The key-value cache of a rollout batch: room for every token up front, rows that leave when they are done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class RolloutLayer(DynamicLayer):
    """Keys and values of one layer, (R, heads, L, head size), written in place.

    A cache that grows by concatenation copies everything it holds at every token.
    """

    def __init__(self, keys: Tensor, values: Tensor, *, repeats: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._length = keys.shape[-2]
        self._keys = _with_room(keys, repeats, room)
        self._values = _with_room(values, repeats, room)
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append tokens to every row, and return all keys and values so far."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        self._keys[:, :, start : self._length] = key_states
        self._values[:, :, start : self._length] = value_states
        return self._show()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep `len(beam_idx)` rows, row i becoming what row `beam_idx[i]` was; rows that stay are not touched."""
        moved = torch.nonzero(beam_idx != torch.arange(len(beam_idx), device=beam_idx.device))[:, 0]
        for states in (self._keys, self._values):
            states[moved, :, : self._length] = states[beam_idx[moved], :, : self._length]
        self._keys, self._values = self._keys[: len(beam_idx)], self._values[: len(beam_idx)]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        """Point the public `keys` and `values` at what is filled."""
        self.keys = keys = self._keys[:, :, : self._length]
        self.values = values = self._values[:, :, : self._length]
        return keys, values


class FixedLayer(RolloutLayer):
    """The same at its full width from the start: tokens go where a tensor says, and a mask hides what is not filled."""

    def __init__(self, keys: Tensor, values: Tensor, *, repeats: int, room: int, at: Tensor) -> None:
        self._at = at
        super().__init__(keys, values, repeats=repeats, room=room)
        for states in (self._keys, self._values):
            # What is hidden is multiplied by 0, which does not hide NaN.
            states[:, :, self._length :] = 0
        self._length += room
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Put one token of every row at `at`, and return all keys and values."""
        self._keys.index_copy_(2, self._at, key_states)
        self._values.index_copy_(2, self._at, value_states)
        return self._keys, self._values


def layer_states(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer of a cache that holds nothing else."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def for_rollouts(cache: Cache, *, rows: int, repeats: int, room: int, at: Tensor | None = None) -> Cache:
    """Turn the cache of prompts (B rows) into one of their rollouts: each row `repeats` times, with `room` more tokens.

    Layers that are not plain keys and values keep their own way of growing.

    Args:
        cache: What the prompts left; changed in place.
        rows: B.
        repeats: Rollouts per prompt.
        room: Tokens to come.
        at: (1,) where the next token goes, if the cache is to have its full width from the start.

    Raises:
        TypeError: A cache of full width was asked for, and a layer is not plain keys and values.
    """
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)
    if at is not None:
        if not plain:
            raise TypeError("a cache of fixed size needs plain keys and values in every layer")
        for index, (keys, values) in enumerate(layer_states(cache)):
            cache.layers[index] = FixedLayer(keys, values, repeats=repeats, room=room, at=at)
    elif plain:
        for index, (keys, values) in enumerate(layer_states(cache)):
            cache.layers[index] = RolloutLayer(keys, values, repeats=repeats, room=room)
    elif repeats > 1:
        select_rows(cache, torch.arange(rows).repeat_interleave(repeats))
    return cache


def select_rows(cache: Cache, index: Tensor) -> None:
    """Row i of the cache becomes what row `index[i]` was."""
    cache.reorder_cache(index)


def _with_room(states: Tensor, repeats: int, room: int) -> Tensor:
    rows, heads, length, size = states.shape
    wide = states.new_empty(rows * repeats, heads, length + room, size)
    wide.view(rows, repeats, heads, length + room, size)[:, :, :, :length] = states[:, None]
    return wide
