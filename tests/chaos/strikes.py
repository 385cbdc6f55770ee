"""Strikes: which process is hit, how, and how long it takes until everything goes on."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil
import redis

from tests.chaos.stack import LEASE_SECONDS, ROLES, ChaosStack, until

WEIGHTS = {
    "gpu-child": 8,
    "cpu-child": 4,
    "gpu-parent": 2,
    "cpu-parent": 2,
    "janitor": 2,
    "api": 3,
    "redis": 2,
    "supervisor": 1,
}
PAUSE_SHARE = 0.2
PAUSE_SECONDS = LEASE_SECONDS * 1.5
GAP_SECONDS = (0.2, 1.5)
"""Pause between two strikes, drawn between these."""
Kind = Literal["kill", "pause"]


@dataclass(frozen=True)
class Strike:
    """What was done to whom, and the seconds until it was made good."""

    kind: Kind
    role: str
    seconds: float


@dataclass
class Striker:
    """Strikes a stack, in an order that follows from a seed."""

    stack: ChaosStack
    seed: int
    done: list[Strike] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._first = list(ROLES)
        self._random.shuffle(self._first)

    @property
    def kills(self) -> int:
        return sum(strike.kind == "kill" for strike in self.done)

    def strike(self) -> Strike:
        """Hit one process, and return when all are back and what it held is done or free for others."""
        time.sleep(self._random.uniform(*GAP_SECONDS))
        # Everybody is hit at least once, then in proportion to the weights.
        role = self._first.pop() if self._first else self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        kind: Kind = "pause" if self._random.random() < PAUSE_SHARE and role != "supervisor" else "kill"
        process = self.stack.processes()[role]
        held = self._held_by(process)
        begun = time.monotonic()
        if kind == "pause":
            process.send_signal(signal.SIGSTOP)
            time.sleep(PAUSE_SECONDS)
            with suppress(psutil.NoSuchProcess):  # A supervisor may have ended it.
                process.send_signal(signal.SIGCONT)
        else:
            if role in ("redis", "supervisor"):
                self.stack.redis_killed.append(time.time())
            process.send_signal(signal.SIGKILL)
            until(lambda: is_gone(process), "the process to be gone")
            if role == "supervisor":
                self._start_again()
        until(self.stack.healthy, f"everybody to be back after a {kind} of {role}")
        until(lambda: all(self._went_on(*unit) for unit in held), f"what {role} held to go on")
        made = Strike(kind, role, time.monotonic() - begun)
        self.done.append(made)
        return made

    def _start_again(self) -> None:
        assert self.stack.process is not None
        self.stack.process.wait(10)
        self.stack.start()

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stack.redis_url(), socket_timeout=10)

    def _held_by(self, process: psutil.Process) -> list[tuple[str, str, bytes]]:
        """Group, unit and fence of what a worker holds."""
        family = {process.pid, *(child.pid for child in process.children(recursive=True))}
        held = []
        with self._redis() as connection:
            for key in connection.scan_iter("minirec:group:*:leased", count=1000):
                group = key.decode().removesuffix(":leased")
                for unit in map(bytes.decode, connection.zrange(key, 0, -1)):
                    worker, fence = connection.hmget(f"{group}:units", f"w{unit}", f"f{unit}")
                    if worker and fence and int(worker.rsplit(b"/", 1)[1]) in family:
                        held.append((group, unit, fence))
        return held

    def _went_on(self, group: str, unit: str, fence: bytes) -> bool:
        try:
            with self._redis() as connection:
                # Given back, claimed anew, or done.
                return bool(connection.hget(f"{group}:units", f"f{unit}") != fence)
        except redis.RedisError:
            return False


def is_gone(process: psutil.Process) -> bool:
    """Tell whether a process has ended, waited for or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def table(strikes: list[Strike]) -> str:
    """Return the report: per kind and role how many, and the seconds until all went on."""
    lines = ["| strike | survived | median s | p95 s | max s |", "| --- | --- | --- | --- | --- |"]
    names = sorted({(strike.kind, strike.role) for strike in strikes})
    groups = {
        f"{kind} {role}": [s.seconds for s in strikes if (s.kind, s.role) == (kind, role)] for kind, role in names
    }
    groups |= {f"all {kind}s": [s.seconds for s in strikes if s.kind == kind] for kind in ("kill", "pause")}
    for name, seconds in groups.items():
        if seconds:
            ordered = sorted(seconds)
            cells = (ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], ordered[-1])
            lines.append(f"| {name} | {len(ordered)} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    return "\n".join(lines)
