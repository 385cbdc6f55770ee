"""The stacks that `minirec up` runs on this machine, found whatever their data folders are."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from minirec.client.errors import ConfigurationError

NOTE = "up.json"
"""Written into the data folder while a stack runs there."""
LOCK = "lock"
"""Held by the stack."""


@dataclass(frozen=True)
class RunningStack:
    """What a running stack says about itself in `up.json`."""

    url: str
    data_dir: str
    models_dir: str
    pid: int
    pids: dict[str, int]
    key_file: str
    """File with the stack's own API key, which only the user who runs it can read."""
    started_at: float = 0.0
    """Seconds since 1970."""

    @property
    def api_key(self) -> str | None:
        """Return the stack's own key, null where this user may not read it."""
        return read_key(Path(self.key_file))


def usual_data_dir() -> Path:
    """Return the folder that is looked at where nothing is set."""
    return Path.home() / ".local" / "share" / "minirec"


def data_dir() -> Path:
    """Return `$MINIREC_DATA_DIR`, else the user's data folder."""
    given = os.environ.get("MINIREC_DATA_DIR")
    return Path(given) if given else usual_data_dir()


def registry() -> Path:
    """Return the folder with one file for each stack that this user runs."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "minirec" / "stacks"


def entry_of(folder: Path) -> Path:
    """Return the registry's file for the stack in a data folder."""
    return registry() / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.json"


def enter(folder: Path) -> None:
    """Write down where a stack keeps its data, so that it is found from everywhere. Raises OSError."""
    entry = entry_of(folder)
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = entry.with_suffix(".tmp")
    scratch.write_text(json.dumps({"data_dir": str(folder.resolve())}) + "\n")
    scratch.replace(entry)


def leave(folder: Path) -> None:
    """Take a stack out of the registry."""
    with suppress(OSError):
        entry_of(folder).unlink()


def entered() -> list[Path]:
    """Return the data folders of the registry, and take those out where no stack runs any more."""
    found = []
    for entry in sorted(registry().glob("*.json")):
        folder = read_entry(entry)
        if folder is not None and is_locked(folder / LOCK):
            found.append(folder)
        else:
            with suppress(OSError):
                entry.unlink()
    return found


def read_entry(file: Path) -> Path | None:
    """Return the data folder that a file of the registry names, null for what is no such file."""
    try:
        return Path(json.loads(file.read_text())["data_dir"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def running_stacks() -> list[RunningStack]:
    """Return all stacks that this user runs here, whatever their data folders; the first started one first."""
    folders = {folder.resolve() for folder in (data_dir(), usual_data_dir(), *entered())}
    found = [stack for stack in map(stack_in, folders) if stack is not None]
    return sorted(found, key=lambda stack: (stack.started_at, stack.url))


def stack_in(folder: Path) -> RunningStack | None:
    """Return the stack that runs in a data folder, null where none does or is ready."""
    # A stack that was killed leaves its note: who took its port since must not get its key.
    return read_note(folder / NOTE) if is_locked(folder / LOCK) else None


def read_note(file: Path) -> RunningStack | None:
    """Return what a stack wrote down about itself, null where there is nothing, or what is no such note."""
    try:
        note = json.loads(file.read_text())
        return RunningStack(**{field.name: note[field.name] for field in fields(RunningStack) if field.name in note})
    except (OSError, ValueError, TypeError):
        return None


def chosen_stack(base_url: str | None) -> RunningStack | None:
    """Return the stack at an address; without one that in `MINIREC_DATA_DIR`, or the only one. Null where none runs.

    Raise ConfigurationError where several run and nothing says which is meant.
    """
    if base_url:
        url = base_url.strip().rstrip("/")
        return next((stack for stack in running_stacks() if stack.url == url), None)
    if os.environ.get("MINIREC_DATA_DIR"):
        return stack_in(data_dir())
    found = running_stacks()
    if len(found) > 1:
        raise ConfigurationError(which_of(found))
    return found[0] if found else None


def which_of(stacks: list[RunningStack]) -> str:
    """Return what to say where several stacks run."""
    lines = [
        f"  {stack.url}  data in {stack.data_dir}, process {stack.pid}"
        + (f", since {datetime.fromtimestamp(stack.started_at):%Y-%m-%d %H:%M}" if stack.started_at else "")
        for stack in stacks
    ]
    return (
        f"{len(stacks)} stacks run on this machine, and nothing says which one is meant:\n"
        + "\n".join(lines)
        + "\nName one by its data folder (MINIREC_DATA_DIR=...) or its address (MINIREC_BASE_URL=..., --base-url, "
        "base_url=...)."
    )


def none_runs() -> str:
    """Return what to say where no stack runs and none is named."""
    where = f"in {data_dir()} (MINIREC_DATA_DIR)" if os.environ.get("MINIREC_DATA_DIR") else "on this machine"
    return (
        f"no stack of yours runs {where}. Start one with `minirec up`, or with MiniRec.local() in Python; a service "
        "elsewhere is named by MINIREC_BASE_URL, --base-url or base_url=."
    )


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
