"""The stack that `minirec up` runs on this machine, found by its data folder."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

NOTE = "up.json"
"""Written into the data folder while a stack runs there."""
LOCK = "lock"
"""Held by the stack."""


@dataclass(frozen=True)
class LocalStack:
    """Where a stack answers, and its key where this user may read it."""

    url: str
    api_key: str | None = field(repr=False)


def usual_data_dir() -> Path:
    """Return the folder that is looked at where nothing is set."""
    return Path.home() / ".local" / "share" / "minirec"


def data_dir() -> Path:
    """Return `$MINIREC_DATA_DIR`, else the user's data folder."""
    given = os.environ.get("MINIREC_DATA_DIR")
    return Path(given) if given else usual_data_dir()


def local_stack() -> LocalStack | None:
    """Return the stack that runs in the data folder, null where none does."""
    folder = data_dir()
    # A stack that was killed leaves its note: who took its port since must not get its key.
    if not is_locked(folder / LOCK):
        return None
    try:
        note = json.loads((folder / NOTE).read_text())
        return LocalStack(str(note["url"]), read_key(Path(note["key_file"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_locked(file: Path) -> bool:
    """Return whether another process holds a lock on a file."""
    try:
        import fcntl  # Not on Windows, where no stack runs.

        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False


def read_key(file: Path) -> str | None:
    """Return the key in a file, null where it cannot be read or is empty."""
    with suppress(OSError, ValueError):
        return file.read_text(encoding="ascii").strip() or None
    return None
