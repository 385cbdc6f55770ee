"""The connection to Redis, which fails soon, and then at once, while Redis does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

T = TypeVar("T")

OPEN_SECONDS = 2.0
"""How long calls fail at once after one that was not answered; then one of them tries again."""
RETRIES = 2
RETRY_PAUSE = 0.1


class Breaker(Retry):
    """Sends a command again where the connection broke, and none for a while after one that was not answered.

    Threads that wait for a Redis that hangs are threads that answer nobody: one finds out, and the others hear of it.
    """

    __hash__ = Retry.__hash__

    def __init__(self, patience: float) -> None:
        super().__init__(ConstantBackoff(RETRY_PAUSE), RETRIES)
        self._patience = patience
        self._closed_at = 0.0
        self._changing = threading.Lock()
        self._inside = threading.local()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __deepcopy__(self, memo: dict[int, Any]) -> Breaker:
        return self  # Every connection of a pool gets a copy, and all must know.

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *args: Any, **options: Any) -> T:
        """Call `do`. Raises what it raises, and TimeoutError at once while Redis is known not to answer."""
        if getattr(self._inside, "trying", False):  # To connect is part of a command.
            return self._once(do, fail, *args, **options)
        probing = self._enter()
        self._inside.trying = True
        try:
            answer = super().call_with_retry(do, fail, lambda error: not _is_timeout(error), *args[1:], **options)
        except Exception as error:
            if _is_timeout(error):
                self._closed_at = time.monotonic() + OPEN_SECONDS
            elif probing:
                self._closed_at = 0.0
            raise
        finally:
            self._inside.trying = False
        self._closed_at = 0.0
        return answer

    def _enter(self) -> bool:
        """Return whether this call is the one that tries again. Raises TimeoutError for all others meanwhile."""
        with self._changing:
            now = time.monotonic()
            if not self._closed_at:
                return False
            if now < self._closed_at:
                raise RedisTimeoutError("Redis has not answered a moment ago")
            self._closed_at = now + self._patience
            return True

    @staticmethod
    def _once(do: Callable[[], T], fail: Callable[..., Any], *_: Any, **options: Any) -> T:
        try:
            return do()
        except Exception as error:
            fail(error, 1) if options.get("with_failure_count") else fail(error)
            raise


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError | RedisTimeoutError)


def connection(url: str, *, patience: float, breaker: bool) -> redis.Redis:
    """Return a connection whose commands fail when `patience` seconds pass without an answer.

    Args:
        url: Address of the server.
        patience: Seconds until a command fails.
        breaker: Whether commands fail at once for a while after that.
    """
    options: dict[str, Any] = {"retry": Breaker(patience)} if breaker else {}
    return redis.Redis.from_url(
        url, socket_timeout=patience, socket_connect_timeout=patience, socket_keepalive=True, **options
    )
