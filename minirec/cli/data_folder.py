"""The one folder in which an embedded stack keeps everything, and by which other shells find it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from minirec.cli.errors import CommandError
from minirec.client.local import LOCK, NOTE, data_dir, enter, leave, read_key, read_note, stack_in
from minirec.client.local import RunningStack as RunningStack

GUARD_PATIENCE = 60.0
"""How long the processes of a supervisor that was killed may take to end."""
LOCK_PATIENCE = 1.0
"""Seconds: long enough to outlast another process that merely looks whether the lock is held."""


class FolderInUseError(CommandError):
    """Another stack runs in the data folder."""


@dataclass(frozen=True)
class DataFolder:
    """Paths in a data folder, its lock, and the note that a running stack leaves there."""

    path: Path

    @classmethod
    def default(cls) -> DataFolder:
        """Return `$MINIREC_DATA_DIR`, else the user's data folder."""
        return cls(data_dir())

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
        return self.path / NOTE

    @property
    def key_file(self) -> Path:
        return self.path / "key"

    @property
    def redis_url_file(self) -> Path:
        """File with the address of the running Redis and its password, which only the user who runs it can read."""
        return self.path / "redis-url"

    def write_redis_url(self, url: str) -> None:
        """Write down where the stack's Redis is, for `minirec gc` of the same user."""
        self.redis_url_file.unlink(missing_ok=True)
        with os.fdopen(os.open(self.redis_url_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(url + "\n")

    def own_key(self) -> str:
        """Return the API key of stacks in this folder, made where there is none yet.

        Raise CommandError where others can read the file, or it does not hold a key.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self._kept_key()
        key = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(key + "\n")
        return key

    def _kept_key(self) -> str:
        again = f"Remove {self.key_file} to have another one made."
        if self.key_file.stat().st_mode & 0o077:
            raise CommandError(f"the API key in {self.key_file} can be read by other users. {again}")
        key = read_key(self.key_file)
        if key is None or len(key) < 20:
            raise CommandError(f"{self.key_file} holds no API key. {again}")
        return key

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder, made where it is missing; gives the lock's file descriptor. Raises `FolderInUseError`."""
        for folder in (self.path, self.redis, self.blobs, self.models, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            patience = time.monotonic() + LOCK_PATIENCE
            while not take_lock(descriptor):
                # What a killed supervisor leaves is ended by its guard, and holds the folder until it is gone.
                if time.monotonic() > patience + (0 if self._supervised() else GUARD_PATIENCE):
                    raise FolderInUseError(self._who_runs())
                time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def running(self) -> RunningStack | None:
        """Return the stack that runs in this folder now, null where none does or is ready."""
        return stack_in(self.path)

    def write_note(self, stack: RunningStack) -> None:
        """Write down for other shells where the stack is."""
        scratch = self.note.with_suffix(".tmp")
        scratch.write_text(json.dumps(asdict(stack), indent=2) + "\n")
        scratch.replace(self.note)

    @contextmanager
    def announced(self, stack: RunningStack) -> Iterator[None]:
        """Let other shells find the stack as long as the context is, whatever this folder is."""
        self.write_note(stack)
        with suppress(OSError):  # without the registry it is found by MINIREC_DATA_DIR
            enter(self.path)
        try:
            yield
        finally:
            leave(self.path)
            self.note.unlink(missing_ok=True)

    def _read_note(self) -> RunningStack | None:
        return read_note(self.note)

    def _supervised(self) -> bool:
        """Return whether the process that wrote the note lives."""
        stack = self._read_note()
        if stack is None:
            return True
        try:
            os.kill(stack.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

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
