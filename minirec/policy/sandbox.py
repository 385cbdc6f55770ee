"""A model's files and a pool's prompts, tried out in a separate process with limits on time and memory. No torch.

Files from outside can keep a library busy for ever (a template that loops, a pattern that backtracks) or make it ask
for all the memory there is. Here that ends the process, and is said in words; nothing else is held up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from minirec.policy.errors import ModelRefused
from minirec.policy.reference import ResolvedModel

STEPS: Mapping[str, int] = {"importing": 60, "tokenizer": 60, "template": 10, "weights": 120, "prompts": 60}
"""Seconds of processor time that each step may take; `prompts` that every part of the prompts may."""
DOING: Mapping[str, str] = {
    "importing": "starting the check of",
    "tokenizer": "reading the tokenizer of",
    "template": "writing a user's turn with the chat template of",
    "weights": "building the structure of",
    "prompts": "writing the pool's prompts with the tokenizer and chat template of",
}
WAITING = 20
"""Factor between a step's processor time and the time after which it is given up: machines are shared."""
MEMORY_BYTES = 4 * 1024**3
"""Memory for all that a model's files make a library allocate; weights are not among it."""
LOOK_SECONDS = 0.5
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class PoolData:
    """The files of a dataset, and the rows of it that make the pool."""

    samples: Path
    items: Path | None
    """The catalogue; None for a dataset of prompts."""
    rows: Sequence[int]


@dataclass(frozen=True)
class Preflight:
    """What is to be tried out."""

    model: ResolvedModel
    data: PoolData
    window: int
    max_new_tokens: int
    with_items: bool = True
    """Whether to try the catalogue's items, too."""

    def to_json(self) -> str:
        """Return this as one line."""
        fields = asdict(self)
        fields["data"]["rows"] = [int(row) for row in self.data.rows]
        return json.dumps(fields, default=str)

    @classmethod
    def from_json(cls, line: str) -> Preflight:
        """Read what `to_json` wrote."""
        given = json.loads(line)
        model, data = given["model"], given["data"]
        paths = {name: None if model[name] is None else Path(model[name]) for name in ("path", "adapter_path")}
        known = {field.name for field in fields(ResolvedModel)}
        model = {name: value for name, value in model.items() if name in known} | paths
        items = None if data["items"] is None else Path(data["items"])
        return cls(
            ResolvedModel(**model | {"warnings": tuple(model["warnings"])}),
            PoolData(Path(data["samples"]), items, data["rows"]),
            given["window"],
            given["max_new_tokens"],
            given["with_items"],
        )


def run_preflight(request: Preflight, *, on_progress: Callable[[int], None]) -> dict[str, Any]:
    """Try a model and a pool's prompts out, and return the fields of a `PoolReport`.

    `on_progress` gets how many prompts are done, every half second at least; what it raises ends the process. Raises
    `ModelRefused` for a model that cannot be read or takes too long or too much memory, RuntimeError for a process
    that was lost for another reason.
    """
    step, done = "importing", 0
    begun = time.monotonic()
    with _started(request) as process:
        for line in _lines(process):
            if line is None:
                if time.monotonic() - begun > STEPS[step] * WAITING:
                    raise _refused(request, f"{_doing(step, request)} took more than {STEPS[step] * WAITING} s")
                on_progress(done)
                continue
            begun = time.monotonic()
            message = json.loads(line)
            if "report" in message:
                report: dict[str, Any] = message["report"]
                return report
            if "refused" in message:
                text = message["message"] or f"{_doing(step, request)} took more than {_gib()} of memory"
                raise ModelRefused(message["refused"], text)
            step, done = message.get("step", step), message.get("done", done)
            on_progress(done)
        status = process.wait()
    if status == -signal.SIGXCPU:
        raise _refused(request, f"{_doing(step, request)} took more than {STEPS[step]} s of processor time")
    if status in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        name = signal.Signals(-status).name
        raise _refused(
            request, f"{_doing(step, request)} ended the process ({name}); it may take over {_gib()} of memory"
        )
    raise RuntimeError(f"{_doing(step, request)}: the process ended with status {status}")


@contextmanager
def _started(request: Preflight) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "minirec.policy.preflight"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
        # A Ctrl-C is for the worker, which then leaves its unit in order.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request.to_json().encode() + b"\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Yield the lines that the process reports until it ends, and None whenever none came for a while."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(b"")

    reader = threading.Thread(target=read, name="preflight-reports", daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=LOOK_SECONDS)
        except Empty:
            yield None
            continue
        if not line:
            return
        yield line


def _doing(step: str, request: Preflight) -> str:
    return f"{DOING[step]} {request.model.id!r}"


def _refused(request: Preflight, reason: str) -> ModelRefused:
    return ModelRefused(
        "model_unusable",
        f"{reason[0].upper()}{reason[1:]}: its files were made to hold up whoever reads them, or are damaged. Choose "
        "another model, or correct them.",
    )


def _gib() -> str:
    return f"{MEMORY_BYTES / 1024**3:.0f} GiB"
