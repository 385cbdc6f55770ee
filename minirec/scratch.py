"""Temporary files of a process below one folder, which others remove once the process is gone, however it went.

Libraries leave folders of many names behind when they are killed (`pymp-*`, `torchelastic_*`). A lock on a file in the
folder says whether its process lives: the system gives it up with the process, wherever its id means nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "minirec-scratch-"
LOCK = ".in-use"
YOUNG_SECONDS = 60.0
"""A folder this young may belong to a process that is about to lock it."""
SHARED = "MINIREC_SHARED_TMPDIR"
"""Variable that tells child processes where the folder of all processes is."""


def shared_folder() -> Path:
    """Return where temporary files of all processes lie, also after `use_own_scratch`."""
    return Path(os.environ.get(SHARED) or tempfile.gettempdir())


def use_own_scratch() -> Path:
    """Put all temporary files of this process and of its children below a new folder; the caller removes it."""
    shared = shared_folder()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=shared))
    # Never closed: the lock ends with the process, and with the processes that were forked from it.
    fcntl.flock(os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    os.environ[SHARED], os.environ["TMPDIR"] = str(shared), str(folder)
    tempfile.tempdir = str(folder)
    return folder


def remove_abandoned() -> int:
    """Remove the folders of this user's processes that are gone; return how many."""
    removed = 0
    for folder in shared_folder().glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError, PermissionError):
            if folder.lstat().st_uid == os.getuid() and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
    return removed


def _is_abandoned(folder: Path) -> bool:
    """Return whether nobody holds the lock. Raises BlockingIOError where somebody does."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return time.time() - folder.lstat().st_mtime > YOUNG_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)
    return True
