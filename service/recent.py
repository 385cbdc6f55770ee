"""What was read last, kept while it is small enough."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were used last, of a limited size together; the very last one is kept whatever its size."""

    def __init__(self, size: Callable[[V], int], *, limit: int) -> None:
        self._size = size
        self._limit = limit
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, read: Callable[[], V]) -> V:
        """Return the value of a key; `read` makes it where it is not kept. Two threads may both read."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = read()
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > 1 and sum(map(self._size, self._values.values())) > self._limit:
                self._values.popitem(last=False)
        return value
