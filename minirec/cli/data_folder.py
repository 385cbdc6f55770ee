"""The one folder in which an embedded stack keeps everything, and by which other shells find it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from minirec.cli.errors import CommandError

LOCK_PATIENCE = 1.0
"""Seconds: long enough to outlast another process that merely looks whether the lock is held."""


class FolderInUseError(CommandError):
    """Another stack runs in the data folder."""


@dataclass(frozen=True)
class RunningStack:
    """What a running stack says about itself in `up.json`."""

    url: str
    data_dir: str
    models_dir: str
    pid: int
    pids: dict[str, int]


@dataclass(frozen=True)
class DataFolder:
    """Paths in a data folder, its lock, and the note that a running stack leaves there."""

    path: Path

    @classmethod
    def default(cls) -> DataFolder:
        """Return `$MINIREC_DATA_DIR`, else the user's data folder."""
        given = os.environ.get("MINIREC_DATA_DIR")
        return cls(Path(given) if given else cls.usual())

    @staticmethod
    def usual() -> Path:
        """Return the folder that is looked at where nothing is set."""
        return Path.home() / ".local" / "share" / "minirec"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def note(self) -> Path:
        return self.path / "up.json"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder, made where it is missing; gives the lock's file descriptor. Raises `FolderInUseError`."""
        for folder in (self.path, self.redis, self.blobs, self.models, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            patience = time.monotonic() + LOCK_PATIENCE
            while not take_lock(descriptor):
                if time.monotonic() > patience:
                    raise FolderInUseError(self._who_runs())
                time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def running(self) -> RunningStack | None:
        """Return the stack that runs in this folder now, null where none does or is ready."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return None
        try:
            return None if take_lock(descriptor) else self._read_note()
        finally:
            os.close(descriptor)

    def write_note(self, stack: RunningStack) -> None:
        """Write down for other shells where the stack is."""
        scratch = self.note.with_suffix(".tmp")
        scratch.write_text(json.dumps(asdict(stack), indent=2) + "\n")
        scratch.replace(self.note)

    def _read_note(self) -> RunningStack | None:
        try:
            return RunningStack(**json.loads(self.note.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _who_runs(self) -> str:
        stack = self._read_note()
        where = f" at {stack.url} (process {stack.pid})" if stack else ""
        return (
            f"a stack{where} already runs in {self.path}. Use that one, stop it first, "
            "or give this one another folder with --data-dir."
        )


def take_lock(descriptor: int) -> bool:
    """Take the lock unless somebody holds it; closing the descriptor gives it back."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
