"""Snapshots of hub repositories: asked for once, pinned to a commit, served from the cache where there is no hub."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minirec.policy.errors import ModelRefused
from minirec.policy.files import MODEL_FILES

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_SECONDS = 10.0
"""How long the hub may take to answer what a revision is."""
NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Snapshot:
    """The files of a hub repository at one commit, on this machine."""

    path: Path
    commit: str
    warning: str | None = None
    """Why the hub's own answer was not taken, if it was not."""


def fetch_snapshot(repo_id: str, revision: str | None, *, check_names: Callable[[Sequence[str]], None]) -> Snapshot:
    """Return a repository's files at a revision, downloading what is not cached.

    A commit whose files are all cached is never asked for. A branch or tag is asked for once; where the hub cannot be
    reached, the commit that it was when it was last fetched serves, with a warning.

    Args:
        repo_id: Hub id, `team/name`.
        revision: Branch, tag or commit; None is the main branch.
        check_names: Gets the names of all files in the repository before any is downloaded, and may refuse them.

    Raises:
        ModelRefused: `model_not_allowed` for a gated repository, `model_not_found` for one that does not exist or can
            neither be fetched nor taken from the cache.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if revision is not None and COMMIT.fullmatch(revision):
        cached = _cached(repo_id, revision)
        if cached is not None:
            check_names(_names(cached.path))
            return cached
    where = f"{repo_id!r} at {revision!r}" if revision else repr(repo_id)
    try:
        info = HfApi().model_info(repo_id, revision=revision, timeout=HUB_SECONDS)
        if info.sha is None:
            raise ModelRefused("model_not_found", f"The hub names no commit for {where}.")
        check_names([sibling.rfilename for sibling in info.siblings or []])
        path = Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=MODEL_FILES))
        _remember(path, revision or "main", info.sha)
        return Snapshot(path, info.sha)
    except ModelRefused:
        raise
    except GatedRepoError as error:
        raise ModelRefused(
            "model_not_allowed", f"{where} is gated on the hub: accept its terms and give the worker a token."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelRefused("model_not_found", f"The hub has no model {where}, or it is private.") from error
    except Exception as error:  # Whatever lies between here and the hub: its own errors, httpx's, the system's.
        if isinstance(error, OSError) and error.errno is not None and not _is_network(error):
            raise  # A full disk, say: another attempt may help.
        return _without_hub(repo_id, revision, where, error, expected=isinstance(error, OfflineModeIsEnabled))


def _remember(path: Path, revision: str, commit: str) -> None:
    """Note in the hub's cache which commit a branch or tag was, as its own client does when it is given the name."""
    if revision != commit:
        note = path.parent.parent / "refs" / revision
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit)


def _without_hub(repo_id: str, revision: str | None, where: str, error: Exception, *, expected: bool) -> Snapshot:
    cached = _cached(repo_id, revision)
    if cached is None:
        reason = "HF_HUB_OFFLINE is set" if expected else f"{type(error).__name__}: {_line(error)}"
        raise ModelRefused(
            "model_not_found",
            f"The hub cannot be reached ({reason}), and {where} was not fetched completely before. Use a local model, "
            "or fetch it with `hf download` on every worker.",
        ) from error
    if expected:
        return cached
    return Snapshot(
        cached.path,
        cached.commit,
        f"the hub could not be reached ({type(error).__name__}); {where} was taken from the copy fetched before, "
        f"commit {cached.commit}",
    )


def _cached(repo_id: str, revision: str | None) -> Snapshot | None:
    """Return the cached snapshot of a revision; None if it is not there, or lacks files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(repo_id, revision=revision, local_files_only=True, allow_patterns=MODEL_FILES)
    except (LocalEntryNotFoundError, OSError):  # An incomplete snapshot is one of the latter.
        return None
    return Snapshot(Path(path), Path(path).name)


def _names(path: Path) -> list[str]:
    return [file.relative_to(path).as_posix() for file in _files(path)]


def _files(path: Path) -> Iterable[Path]:
    return (file for file in sorted(path.rglob("*")) if file.is_file())


def _is_network(error: OSError) -> bool:
    """Return whether an error with a number comes from a connection, and not from a file."""
    return isinstance(error, ConnectionError | TimeoutError | socket.gaierror) or error.errno in NETWORK


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
