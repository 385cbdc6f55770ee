"""Processes that hold the same policy and share its work: each does a part, all of them get the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

T = TypeVar("T")

MAX_WAIT = timedelta(hours=2)
"""How long a process waits for the others. One that died is noticed at once, by whoever started them."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count` that do the same in step. What exchanges something has to be called by all of them."""

    index: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Meet the other processes that a launcher started with this one, and take the GPU that is this one's."""
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=MAX_WAIT)
        return cls(state.process_index, state.num_processes)

    @staticmethod
    def leave() -> None:
        """Part from the others; a process that just ends is taken for one that died."""
        PartialState().destroy_process_group()

    @property
    def is_main(self) -> bool:
        """True for the one process that writes and reports."""
        return self.index == 0

    def share(self, size: int) -> slice:
        """Return this process's part of `size` things: consecutive, in the order of the processes, possibly none."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)

    def gather(self, values: Sequence[T]) -> list[T]:
        """Return the values of all processes, in the order of the processes."""
        return gather_object(list(values)) if self.count > 1 else list(values)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, in which tensors have the same shape."""
        return reduce(tensor, reduction="sum") if self.count > 1 else tensor

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in one exchange."""
        if self.count > 1:
            vector_to_parameters(self.total(parameters_to_vector(tensors)), tensors)


SINGLE_PROCESS = Ranks()
