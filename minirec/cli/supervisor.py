"""Child processes that are kept running, each in a process group of its own, with a log file each."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minirec.cli import guard

HEALTHY_SECONDS = 60.0
"""A child that lived this long starts again at once when it dies."""
LONGEST_BACKOFF = 30.0
TICK = 0.2


@dataclass(frozen=True)
class Program:
    """What a child runs."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    stdin: bytes = b""
    grace: float = 20.0
    """Seconds that it may take to stop when asked."""


class Child:
    """One program, started again whenever it ends."""

    def __init__(self, program: Program, lock: int) -> None:
        self.program = program
        self._lock = lock
        """Inherited: while one child lives, nobody else moves into the data folder."""
        self.failures = 0
        """Ends in a row that nobody asked for."""
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.due = 0.0

    @property
    def pid(self) -> int:
        return 0 if self.process is None else self.process.pid

    def start(self) -> None:
        """Run the program; its output is appended to its log."""
        program = self.program
        with program.log.open("ab") as log:
            self.process = subprocess.Popen(
                program.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(program.environment),
                cwd=program.folder,
                pass_fds=[self._lock],
                start_new_session=True,
            )
        self.started = time.monotonic()
        assert self.process.stdin is not None
        try:
            with self.process.stdin as pipe:
                pipe.write(program.stdin)
        except BrokenPipeError:
            pass  # it ended before it read anything; its exit status is read at the next tick

    def ended(self) -> int | None:
        """Return the exit status of a child that has ended by itself, its process group cleared; null while it runs."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is not None:
            guard.send(self.process.pid, signal.SIGKILL)
        return status

    def plan_restart(self) -> float:
        """Record a failure and return the seconds until the next start."""
        now = time.monotonic()
        self.failures = 1 if now - self.started > HEALTHY_SECONDS else self.failures + 1
        delay = min(LONGEST_BACKOFF, 2.0 ** (self.failures - 1))
        self.process, self.due = None, now + delay
        return delay

    def terminate(self) -> None:
        """Send SIGTERM to the program itself, which stops the processes that it started."""
        if self.process is not None:
            self.process.terminate()

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Kill what is left of the program and of those that it started."""
        if self.process is not None:
            guard.send(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Supervisor:
    """Keeps children running until it is stopped; a guard process ends them where the supervisor cannot."""

    def __init__(self, report: Callable[[str], None], lock: int) -> None:
        self.children: dict[str, Child] = {}
        self._report = report
        self._lock = lock
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._kill_now = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._guard = subprocess.Popen(
            [sys.executable, "-P", guard.__file__], stdin=subprocess.PIPE, pass_fds=[lock], start_new_session=True
        )

    def start(self, program: Program) -> Child:
        """Start a program and keep it running."""
        child = Child(program, self._lock)
        with self._changing:
            self.children[program.name] = child
            self._start(child)
            if not self._watcher.is_alive():
                self._watcher.start()
        return child

    def kill_now(self) -> None:
        """Kill the children that were asked to stop, without waiting any longer."""
        self._kill_now.set()

    def stop(self, order: Sequence[Sequence[str]]) -> None:
        """Stop the named children, group after group; those within one at the same time."""
        self._stopping.set()
        with self._changing:
            for names in order:
                children = [self.children[name] for name in names if name in self.children]
                self._stop_together([child for child in children if child.process is not None])
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _stop_together(self, children: Sequence[Child]) -> None:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + max((child.program.grace for child in children), default=0.0)
        while any(child.running() for child in children) and time.monotonic() < deadline:
            if self._kill_now.wait(0.05):
                break
        for child in children:
            pid = child.pid
            child.end()
            self._note("-", pid)

    def _start(self, child: Child) -> None:
        child.start()
        self._note("+", child.pid)

    def _start_again(self, child: Child) -> None:
        try:
            self._start(child)
        except OSError as error:
            child.due = time.monotonic() + LONGEST_BACKOFF
            self._report(f"{child.program.name} cannot be started ({error}); next attempt in {LONGEST_BACKOFF:g} s")

    def _note(self, sign: str, pid: int) -> None:
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(f"{sign}{pid}\n".encode())
            self._guard.stdin.flush()
        except BrokenPipeError:
            self._report("the guard process has gone: if this process is killed, its children stay behind")

    def _watch(self) -> None:
        while not self._stopping.wait(TICK):
            with self._changing:
                for child in self.children.values():
                    self._look_at(child)

    def _look_at(self, child: Child) -> None:
        if child.process is None:
            if time.monotonic() >= child.due:
                self._start_again(child)
            return
        pid, status = child.pid, child.ended()
        if status is None:
            return
        self._note("-", pid)
        delay = child.plan_restart()
        name, log = child.program.name, child.program.log
        self._report(f"{name} {how_it_ended(status)}; starting it again in {delay:g} s. Its log: {log}")


def how_it_ended(status: int) -> str:
    """Return an exit status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
