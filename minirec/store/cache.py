"""Copies of a remote store's blobs on this machine: bounded in size, and gone soon after the blob is deleted."""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from minirec.scratch import shared_folder

USED_SECONDS = 3600.0
"""A copy that was asked for in the last hour may be about to be read, and stays whatever its size."""
UNUSED_SECONDS = 7 * 24 * 3600.0
"""A copy that nobody asked for in a week goes: deletions are remembered for as long (`minirec.store.garbage`)."""


class BlobCache:
    """A folder of copies, shared by the processes of this user; the longest unused go first."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes

    def get(self, name: str, fetch: Callable[[Path], None]) -> Path:
        """Return the path of a copy, which `fetch` writes if it is missing."""
        path = self._folder() / name
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
            try:
                fetch(partial)
                os.replace(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            self.tidy()
        return path

    def forget(self, name: str) -> None:
        """Remove the copy of a blob, or of all blobs below a name that ends in a slash."""
        path = self._folder() / name
        if name.endswith("/"):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def tidy(self, *, now: float | None = None) -> None:
        """Remove what was not used for long, and then the longest unused until the rest fits."""
        now = time.time() if now is None else now
        files = []
        for path in self._folder().rglob("*"):
            with suppress(FileNotFoundError):  # Another process was faster.
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode):
                    files.append((facts.st_mtime, facts.st_size, path))
        total = sum(size for _, size, _ in files)
        for used, size, path in sorted(files):
            too_many = total > self._max_bytes and now - used > USED_SECONDS
            if too_many or now - used > UNUSED_SECONDS:
                path.unlink(missing_ok=True)
                total -= size

    def _folder(self) -> Path:
        folder = private_folder() / self._name
        folder.mkdir(exist_ok=True)
        return folder


def private_folder() -> Path:
    """Return this user's folder for copies of remote blobs. Raises PermissionError where it is another's."""
    folder = shared_folder() / f"minirec-blobs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077 or not stat.S_ISDIR(facts.st_mode):
        raise PermissionError(f"{folder} is open to other users; remove it, or set TMPDIR to a folder of your own")
    return folder
