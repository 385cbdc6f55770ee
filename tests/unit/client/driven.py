"""The asynchronous client driven step by step, so that one test serves both clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any


class Driven:
    """Anything asynchronous, with each of its steps run to its end at once."""

    def __init__(self, runner: asyncio.Runner, inner: Any) -> None:
        self._runner = runner
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return self._outer(getattr(self._inner, name))

    def __call__(self, *args: Any, **options: Any) -> Any:
        args = tuple(map(_plain, args))
        return self._outer(self._inner(*args, **{name: _plain(value) for name, value in options.items()}))

    def __iter__(self) -> Iterator[Any]:
        return self._rows(aiter(self._inner))

    def _outer(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._outer(self._runner.run(value))
        if isinstance(value, AsyncIterator):
            return self._rows(value)
        steps = callable(value) or hasattr(value, "_transport") or hasattr(value, "_jobs")
        return Driven(self._runner, value) if steps else value

    def _rows(self, rows: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> tuple[bool, Any]:
            try:
                return True, await anext(rows)
            except StopAsyncIteration:
                return False, None

        while True:
            more, row = self._runner.run(following())
            if not more:
                return
            yield self._outer(row)


def _plain(value: Any) -> Any:
    return value._inner if isinstance(value, Driven) else value
