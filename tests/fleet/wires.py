"""Machines of a fleet as network namespaces, and the network between them: a switch with latency, loss and cuts.

The switch is a process that carries Ethernet frames between TAP devices, one in each namespace. What the kernels see
is a network like any other, and it needs no kernel module that a machine may lack.
"""

from __future__ import annotations

import fcntl
import heapq
import multiprocessing
import os
import random
import select
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_BYTES = 65_536
BROADCAST = b"\xff" * 6


def missing() -> str | None:
    """Return what this machine lacks for namespaces; None where all is there."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    try:
        subprocess.run(["ip", "netns", "list"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "needs the command ip, of iproute2"
    return None


def ip(*words: str, check: bool = True) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=check, capture_output=not check)


def tap(name: str) -> int:
    """Make a TAP device; return what its frames are read from and written to."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


@dataclass
class Network:
    """A running network; machines are reached by their names."""

    prefix: str
    addresses: Mapping[str, str]
    """Of every machine, and of this one (`here`)."""
    _control: Connection = field(repr=False)

    def cut(self, machine: str) -> None:
        """Let no frame to or from a machine through."""
        self._control.send(("cut", machine))

    def heal(self, machine: str) -> None:
        """Let them through again."""
        self._control.send(("heal", machine))

    def inside(self, machine: str) -> list[str]:
        """Return the words before a command that make it run on a machine."""
        named = f'hostname {machine}; exec "$@"'
        return ["ip", "netns", "exec", f"{self.prefix}{machine}", "unshare", "--uts", "sh", "-c", named, "sh"]


@contextmanager
def network(machines: Mapping[str, str], here: str, *, delay: float, loss: float, seed: int) -> Iterator[Network]:
    """Make machines and the network between them; all are gone at the end.

    Args:
        machines: Name and IPv4 address of each, all in one /24.
        here: The address of this machine in that network.
        delay: Seconds from one machine to another.
        loss: Share of the frames that get lost.
        seed: Of the losses.
    """
    prefix = f"mr{os.getpid()}-"
    devices = {}
    try:
        for number, (name, address) in enumerate({"here": here, **machines}.items()):
            device = f"mr{os.getpid() % 100_000}t{number}"
            devices[name] = tap(device)
            within: list[str] = []
            if name != "here":
                ip("netns", "add", prefix + name)
                ip("link", "set", device, "netns", prefix + name)
                within = ["-n", prefix + name]
                ip(*within, "link", "set", "lo", "up")
            ip(*within, "addr", "add", f"{address}/24", "dev", device)
            ip(*within, "link", "set", device, "up")
        ours, theirs = multiprocessing.Pipe()
        switch = multiprocessing.get_context("fork").Process(
            target=_carry, args=(devices, theirs, delay, loss, random.Random(seed)), daemon=True
        )
        switch.start()
        try:
            yield Network(prefix, {"here": here, **machines}, ours)
        finally:
            switch.kill()
            switch.join()
    finally:
        for opened in devices.values():
            os.close(opened)
        for name in machines:
            ip("netns", "del", prefix + name, check=False)


def _carry(devices: Mapping[str, int], control: Connection, delay: float, loss: float, draw: random.Random) -> None:
    """Carry frames for ever."""
    names = {device: name for name, device in devices.items()}
    places: dict[bytes, int] = {}
    cut: set[str] = set()
    late: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        patience = max(0.0, late[0][0] - time.monotonic()) if late else None
        readable, _, _ = select.select([control.fileno(), *names], [], [], patience)
        now = time.monotonic()
        for source in readable:
            if source == control.fileno():
                what, machine = control.recv()
                (cut.add if what == "cut" else cut.discard)(machine)
                continue
            frame = os.read(source, FRAME_BYTES)
            places[frame[6:12]] = source
            known = places.get(frame[:6])
            targets = (
                [known] if known is not None and frame[:6] != BROADCAST else [one for one in names if one != source]
            )
            for target in targets:
                if names[source] in cut or names[target] in cut or draw.random() < loss:
                    continue
                count += 1
                heapq.heappush(late, (now + delay, count, target, frame))
        while late and late[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(late)
            with suppress(BlockingIOError):  # The receiver's queue is full: lost, as on any network.
                os.write(target, frame)
