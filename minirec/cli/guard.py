"""Kills what a supervisor leaves behind when it is killed itself.

Reads `+PID` and `-PID` lines about process groups from standard input. Only the supervisor holds its other end, so the
input ends when the supervisor does, however that came about. Inherits the data folder's lock: nobody moves in before
all is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE = 5.0
"""Seconds between asking and killing."""


def main(lines: Iterable[str]) -> None:
    """Follow the supervisor's notes to their end, then end the groups that are left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    groups: set[int] = set()
    for line in lines:
        sign, group = line[0], int(line[1:])
        groups.add(group) if sign == "+" else groups.discard(group)
    end(groups)


def end(groups: set[int]) -> None:
    """Ask all process groups to stop; kill those that have not after `GRACE` seconds."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signal a process group; false when it is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.stdin)
