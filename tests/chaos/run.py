"""A run: one undisturbed round of the work, then strikes while the same work is repeated, then what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import tiny_model
from tests.chaos.load import Load, prepare
from tests.chaos.stack import ChaosStack
from tests.chaos.strikes import Strike, Striker, table


@dataclass
class Report:
    """What a run survived, and which promises it found broken."""

    seed: int
    strikes: list[Strike]
    load: Load
    seconds: float
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return it for people."""
        kills = sum(strike.kind == "kill" for strike in self.strikes)
        work = self.load
        head = (
            f"Seed {self.seed}: {kills} kills and {len(self.strikes) - kills} pauses survived in {self.seconds:.0f} s, "
            f"{work.rounds - 1} rounds: {work.jobs} jobs, {work.uploads} uploads, {work.events} events, "
            f"{work.lost_workers} lost workers"
        )
        return "\n".join([head, "", table(self.strikes), "", *(f"FAULT: {fault}" for fault in self.faults)])


def run(
    folder: Path,
    *,
    kills: int,
    seed: int,
    minutes: float = 600,
    small: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Strike until so many processes were killed.

    Args:
        folder: An empty folder for everything.
        kills: How many processes to kill; pauses come on top.
        seed: Decides which process is struck when.
        small: Less work, for `make test`.
        minutes: When to stop striking in any case.
        say: Hears what happens.
    """
    data = folder / "data"
    data.mkdir()
    tiny_model(data / "models")
    stack = ChaosStack(data)
    load = Load(stack, prepare(folder / "files"), small=small)
    striker = Striker(stack, seed)
    begun = time.monotonic()
    try:
        stack.start()
        load.expected = load.round()
        load.rounds += 1
        say(f"the undisturbed round took {time.monotonic() - begun:.0f} s: {len(load.expected)} results")
        worker = threading.Thread(target=load.run, daemon=True)
        worker.start()
        try:
            while striker.kills < kills and not load.faults and time.monotonic() - begun < 60 * minutes:
                made = striker.strike()
                say(f"{len(striker.done):4} {made.kind} {made.role}: {made.seconds:.1f} s; round {load.rounds}")
        finally:
            load.stop.set()
        worker.join()
        faults = [*load.faults, *_left(stack)]
    except BaseException:
        say(stack.logs())
        raise
    finally:
        _end(stack)
    return Report(seed, striker.done, load, time.monotonic() - begun, faults)


def _left(stack: ChaosStack) -> list[str]:
    """Start the stack once more and stop it; return what is left of the run."""
    with stack.client() as client:
        left = [job.id for jobs in (client.selections, client.training_jobs) for job in jobs.list()]
        left += [dataset.id for dataset in client.datasets.list()]
    faults = [f"{name} is there, and was deleted" for name in left]
    stack.stop()
    stack.start()
    stack.stop()
    faults += [f"process left: {line}" for line in stack.left_processes()]
    return faults + [f"file left: {path}" for path in stack.left_files()]


def _end(stack: ChaosStack) -> None:
    if stack.process is not None and stack.process.poll() is None:
        stack.stop()
