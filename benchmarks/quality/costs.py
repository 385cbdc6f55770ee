"""What work costs: rollouts, tokens through the model, processor seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """Adds up. Rollouts and tokens are those that rewards are measured on; seconds are of everything."""

    rollouts: int = 0
    tokens: int = 0
    """Read and drawn: a prompt once for its group, as the cache is shared, and what each rollout drew."""
    seconds: float = 0.0
    """Of processor time on one core: a busy neighbour does not change them."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rollouts + other.rollouts, self.tokens + other.tokens, self.seconds + other.seconds)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the processor time of the block."""
        started = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - started
