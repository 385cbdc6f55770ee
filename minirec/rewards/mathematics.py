"""Compare two answers as mathematics, by math-verify in a separate process.

A short text can ask for a number that no machine can hold, and SymPy does not always hear an alarm: so a child process
with limits on time and memory does the work, is killed when it is stuck, and is started again. It also needs no alarm
signal here, which only the main thread may set.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
from functools import lru_cache
from importlib.util import find_spec

from minirec.rewards.answers import without_lead
from minirec.rewards.text import ascii_forms, unescaped

LONGEST = 1_000
"""Characters; a longer answer is not compared."""
START_SECONDS = 120.0
WALL_SECONDS = 30.0
"""After these the child is killed. It gives up by itself after seconds of its own computing time."""

_SPACED_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,;:! ]|\{,\}|~)(?=\d{3}(?!\d))")
_DELIMITER = re.compile(r"\$|\\\(|\\\[")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


class MathUnavailableError(RuntimeError):
    """The mathematics cannot be checked here; the message says what to do."""


def equivalent(given: str, right: str, *, marked: bool) -> bool:
    """Tell whether an answer is mathematically the right one; False for what cannot be read, or takes too long.

    Args:
        given: the answer of a completion.
        right: the right answer.
        marked: whether the completion marks its answer. A line that nothing marks is mathematics only where it has
            LaTeX delimiters, or no words.

    Raises:
        MathUnavailableError: math-verify is not installed, or does not start.
    """
    if len(given) > LONGEST or len(right) > LONGEST or not given or not right:
        return False
    plain = without_lead(given)
    boxed = marked or (not _DELIMITER.search(plain) and not _WORD.search(plain))
    if not boxed and not _DELIMITER.search(plain):
        return False
    return _checked(_readable(right), _readable(plain), boxed)


def _readable(answer: str) -> str:
    """Return an answer without what math-verify trips over: thin spaces between thousands, full-width characters."""
    return _SPACED_THOUSANDS.sub("", ascii_forms(unescaped(answer)))


@lru_cache(maxsize=10_000)
def _checked(right: str, given: str, boxed: bool) -> bool:
    return _child.ask([right, given, boxed])


class _Child:
    """The process that computes, started when it is first needed; for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, question: list[object]) -> bool:
        """Return what the child answers; False when it does not."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                answer = self._line(process, WALL_SECONDS)
            except BrokenPipeError:
                answer = b""
            if not answer:
                self._end()
            return answer == b"1\n"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        if find_spec("math_verify") is None:
            raise MathUnavailableError("math_answer needs math-verify: pip install 'minirec[math]'")
        command = [sys.executable, "-m", "minirec.rewards.math_child"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._owner = os.getpid()
        if self._line(self._process, START_SECONDS) != b"ready\n":
            self._end()
            raise MathUnavailableError(f"math-verify does not start; `{' '.join(command)}` shows why")
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """Return the child's next line, or nothing if it ended or took too long."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return process.stdout.readline() if ready else b""

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


_child = _Child()
