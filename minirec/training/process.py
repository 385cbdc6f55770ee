"""One process of a training run that takes several, started by torch's launcher with the path of a specification.

The specification is a JSON file: which trainer, its run, and how to log. The main process reports on standard
output, a JSON object per line; a process that cannot continue says why there, whichever it is. Whatever else is printed
goes to standard error. Every process ends when its standard input is closed, so that none outlives the
process that started them, however that one died.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from minirec.logs import configure_logging
from minirec.policy.ranks import Ranks
from minirec.policy.reference import ModelRefused
from minirec.rewards import RewardError, UnknownRewardError
from minirec.training.runs import RUNS

ERROR = "error"
"""The event that is no trainer's: a process failed, with the `code` and the `message` of the job's error."""

LONGEST_MESSAGE = 1500
"""Characters of an error's message: a report is written in one piece only while it is short."""

Report = Callable[[str, Mapping[str, Any]], None]

log = structlog.get_logger(__name__)


def specification(trainer: str, run: Mapping[str, Any], *, log_level: str, log_context: Mapping[str, Any]) -> str:
    """Return what a process is started with, as JSON: the trainer, and its run as a dict."""
    return json.dumps({"trainer": trainer, "run": run, "log_level": log_level, "log_context": log_context})


def main(path: Path) -> int:
    """Join the other processes and train; returns the exit status."""
    report = _take_output()
    threading.Thread(target=_end_with_input, daemon=True).start()
    spec = json.loads(path.read_bytes())
    configure_logging(spec["log_level"])
    structlog.contextvars.bind_contextvars(**spec["log_context"])
    try:
        ranks = Ranks.join()
        structlog.contextvars.bind_contextvars(rank=ranks.index)
        RUNS[spec["trainer"]].model_validate(spec["run"]).take_part(ranks, report)
        ranks.leave()
    except Exception as error:
        log.exception("training_process_failed")
        report(ERROR, describe(error))
        return 1
    return 0


def describe(error: Exception) -> dict[str, str]:
    """`code` and `message` of a trainer's error. Samples or settings that cannot be trained with raise ValueError."""
    if isinstance(error, ModelRefused):
        return {"code": error.code, "message": str(error)}
    if isinstance(error, RewardError | UnknownRewardError):
        code = "reward_failed" if isinstance(error, RewardError) else "unknown_reward"
        return {"code": code, "message": str(error)[:LONGEST_MESSAGE]}
    if isinstance(error, ValueError):
        return {"code": "training_failed", "message": str(error)[:LONGEST_MESSAGE]}
    return {"code": "internal_error", "message": f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]}


def _take_output() -> Report:
    """Keep standard output for reports; what libraries print there goes to standard error."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(event: str, data: Mapping[str, Any]) -> None:
        # In one write: lines of several processes, all of them short, do not mix in a pipe then.
        os.write(output, json.dumps({"event": event, **data}).encode() + b"\n")

    return report


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    # Threads of a communication that was broken off would keep the interpreter from ending.
    sys.stderr.flush()
    os._exit(status)
