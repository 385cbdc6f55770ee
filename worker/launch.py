"""Training in several processes: started for a unit, followed, and ended with it whatever happens.

A Celery child is daemonic: it may not have children of `multiprocessing`, but a subprocess. torch's launcher starts
one process per GPU (`minirec.training.process`) and ends all of them when one fails. This side holds their standard
input, and they end when it is closed: here when the unit is to be left, by the system when this process is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from minirec.training.process import ERROR, specification
from minirec.worker.work import UnitError, Work

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""Pause between two looks at whether the unit is to be left."""
END_SECONDS = 15.0
"""How long the launcher may take to end after its processes."""

Event = dict[str, Any]


def run_in_processes(
    work: Work, trainer: str, run: Mapping[str, Any], scratch: Path, on_event: Callable[[Event], None]
) -> None:
    """Run a trainer in `settings.train_processes` processes to its end, and pass on the events that it reports.

    No process is left behind. What `on_event` raises ends the run, too.

    Args:
        work: The unit of work, with the settings.
        trainer: Name of the trainer.
        run: What the trainer needs, as JSON.
        scratch: Folder for the run's specification.
        on_event: Called with each event that the processes report.

    Raises:
        UnitError: Something went wrong in one of the processes.
        Interrupted: The unit is to be left.
    """
    path = scratch / "specification.json"
    context = structlog.contextvars.get_contextvars()
    path.write_text(specification(trainer, run, log_level=work.settings.log_level, log_context=context))
    with _launched(path, work.settings.train_processes) as launcher:
        for event in _events(launcher, work):
            if event["event"] == ERROR:
                code = event["code"]
                raise UnitError(code, event["message"], retryable=code == "internal_error")
            on_event(event)
    if launcher.returncode:
        message = f"a training process was lost, and the launcher ended with status {launcher.returncode}"
        raise UnitError("internal_error", message, retryable=True)


def command(specification: Path, processes: int) -> list[str]:
    """Return torch's launcher for this many processes on this machine, which meet on a free port of it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return [*launcher, "--nproc-per-node", str(processes), "--module", "minirec.training.process", str(specification)]


@contextmanager
def _launched(specification: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the launcher and its processes, and end them with the block."""
    launcher = subprocess.Popen(
        command(specification, processes),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A Ctrl-C is for the worker, which then leaves its unit in order.
        start_new_session=True,
    )
    assert launcher.stdin is not None
    try:
        yield launcher
    finally:
        launcher.stdin.close()
        try:
            launcher.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()


def _events(launcher: subprocess.Popen[bytes], work: Work) -> Iterator[Event]:
    """Yield what the processes report until all of them have ended. Raises Interrupted when the unit is to be left."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        assert launcher.stdout is not None
        # Closed here: another thread that closes it while this one reads waits for the read.
        with launcher.stdout as reports:
            for line in reports:
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, name="training-reports", daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=LOOK_SECONDS)
        except Empty:
            work.check()
            continue
        if not line:
            return
        try:
            event = json.loads(line)
        except ValueError:
            log.warning("training_report_unreadable", line=line[:200].decode(errors="replace"))
            continue
        yield event
