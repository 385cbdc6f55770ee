"""The process that compares mathematics: a question a line on stdin, `1` or `0` a line on stdout."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
import sys

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

CPU_SECONDS = 5.0
"""Computing time for one question; the clock stands still while other processes have the machine."""
MEMORY_BYTES = 2 << 30
_LATEX = LatexExtractionConfig(boxed_match_priority=0)


class _OutOfTimeError(BaseException):
    """Not an Exception: SymPy and math-verify catch those."""


def main() -> None:
    """Answer until stdin ends, which it does when the process that asks is gone."""
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ValueError, OSError):  # Not every platform can bound memory.
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _give_up)
    _answer("ready")
    for line in sys.stdin:
        right, given, boxed = json.loads(line)
        _answer("1" if _same_in_time(right, given, boxed) else "0")


def _same_in_time(right: str, given: str, boxed: bool) -> bool:
    try:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            return _same(right, given, boxed)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (_OutOfTimeError, MemoryError, RecursionError):
        return False


def _same(right: str, given: str, boxed: bool) -> bool:
    """Compare by math-verify; its own time limits, which need an alarm, are off."""
    gold = parse(f"\\boxed{{{right}}}", [_LATEX], parsing_timeout=None)
    if boxed:
        found = parse(f"\\boxed{{{given}}}", [_LATEX], parsing_timeout=None)
    else:
        anchored = ExprExtractionConfig(try_extract_without_anchor=False)
        found = parse(given, [_LATEX, anchored], parsing_timeout=None)
    return bool(verify(gold, found, timeout_seconds=None))


def _give_up(number: int, frame: object) -> None:
    raise _OutOfTimeError


def _answer(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
