"""How far a job is, while somebody waits for it: one line on standard error, and what to do after Ctrl-C."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from minirec.api_schemas import TERMINAL, Evaluation, Job, Selection, TrainingJob, kind_of

WIDTH = 24
"""Characters of a bar."""
CANCELLED = ("CancelledError", "Cancelled")
"""How asyncio and trio tell a task to end."""


def counted(job: Job) -> tuple[int, int]:
    """Return how much of its present stage a job has done, and how much there is; 0 where that is not known."""
    if isinstance(job, Selection):
        return job.counts.scored, job.counts.total
    if isinstance(job, TrainingJob):
        return job.updates_done, job.updates_total or 0
    if isinstance(job, Evaluation):
        return job.samples_done, job.samples_total or 0
    return 0, 0


def waiting_text(job: Job) -> str | None:
    """Return what a job waits for, null where it is being worked on or has ended.

    Between two shards nobody has its work in hand for a moment: that is no waiting.
    """
    waiting = job.waiting
    if waiting is None or job.status not in ("queued", "running"):
        return None
    if waiting.workers == 0:
        return "no worker takes this work"
    if waiting.ahead == 0:
        return None if counted(job)[0] else "next in the queue"
    starts = "" if waiting.starts_at is None else f", starts at about {clock_text(waiting.starts_at)}"
    return f"{waiting.ahead} ahead in the queue{starts}"


def clock_text(at: float) -> str:
    """Return a moment as the clock on the wall says it, with the day where it is not today."""
    moment = time.localtime(at)
    today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%a %H:%M", moment)


def seconds_text(seconds: float) -> str:
    """Return a duration as people read it: 0:07, 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """One line that is written anew, on a terminal and in a notebook; elsewhere a line per stage and tenth of it."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.time) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._rewrites = self._stream.isatty() or "ipykernel" in sys.modules
        self._shown: tuple[str, int, int | None] | None = None
        self._length = 0
        self._stage: tuple[str, float, int] | None = None
        """Name of the stage, and when and how far it was seen first."""

    def show(self, job: Job) -> None:
        """Show how far a job is."""
        text = self.text(job)
        done, total = counted(job)
        if self._rewrites:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + text.ljust(self._length))
            self._length = len(text)
        elif self._shown != (shown := (self._name(job), 10 * done // total if total else 0, _place(job))):
            self._shown = shown
            self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._rewrites and self._length:
            self._stream.write("\n")
            self._stream.flush()
            self._length = 0

    def text(self, job: Job) -> str:
        """Return the line: what the job does, a bar, and when it will be done as far as that is known."""
        done, total = counted(job)
        name = self._name(job)
        if job.status in TERMINAL:
            ran = f" after {seconds_text(job.finished_at - job.created_at)}" if job.finished_at else ""
            return f"{job.id} {name}{ran}"
        waits = waiting_text(job)
        if waits is not None:
            return f"{job.id} {name}: {waits}"
        if job.status != "running" or not total:
            return f"{job.id} {name}"
        bar = ("#" * (WIDTH * done // total)).ljust(WIDTH, ".")
        left = self._left(job, name, done, total)
        return f"{job.id} {name} [{bar}] {done:,}/{total:,}" + ("" if left is None else f", {seconds_text(left)} left")

    def _name(self, job: Job) -> str:
        stage = job.stage if job.status == "running" and job.stage else job.status
        return stage.replace("_", " ")

    def _left(self, job: Job, stage: str, done: int, total: int) -> float | None:
        """Return the seconds until the job ends, as the service estimates it, else until its stage does."""
        now = self._clock()
        if self._stage is None or self._stage[0] != stage:
            self._stage = stage, now, done
        finish = getattr(job, "estimated_finish", None)
        if finish is not None:
            return float(finish) - now
        _, since, before = self._stage
        return (total - done) * (now - since) / (done - before) if done > before else None


def _place(job: Job) -> int | None:
    """Return how many are ahead of a job that waits."""
    return job.waiting.ahead if job.waiting is not None and waiting_text(job) else None


def goes_on(job: Job) -> str:
    """Return how to come back to a job that nobody waits for any more."""
    jobs = f"client.{kind_of(job.id).name}s"
    return (
        f"{job.id} goes on ({job.status}{f': {job.stage}' if job.stage else ''}). Come back with "
        f"{jobs}.wait({job.id!r}, progress=True) or `minirec status {job.id} --follow`; stop it with "
        f"{jobs}.cancel({job.id!r})."
    )


@contextmanager
def watched(progress: bool) -> Iterator[Callable[[Job], None]]:
    """Show each state of a job that is passed in, if wanted. An interruption says that the job goes on."""
    line = ProgressLine() if progress else None
    latest: Job | None = None

    def show(job: Job) -> None:
        nonlocal latest
        latest = job
        if line is not None:
            line.show(job)

    try:
        yield show
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*[goes_on(latest)] if latest is not None else []) from None
    except BaseException as error:
        if latest is not None and type(error).__name__ in CANCELLED:
            error.add_note(goes_on(latest))
        raise
    finally:
        if line is not None:
            line.close()
