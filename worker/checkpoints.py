"""Checkpoints of a training run in the blob store: a worker that dies is followed by one anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import structlog

from minirec.store.blobs import BlobStore
from minirec.store.errors import LostError
from minirec.training.checkpoint import latest_checkpoint

COMPLETE = "complete"

log = structlog.get_logger(__name__)


class Checkpoints:
    """Mirrors the latest checkpoint of a run's folder to a name in the blob store."""

    def __init__(self, blobs: BlobStore, name: str, out: Path) -> None:
        self._blobs = blobs
        self._name = name
        self._out = out
        self._stored: str | None = None

    def fetch(self) -> None:
        """Put the newest complete checkpoint, if there is one, into the run's folder."""
        for name in sorted(filter(self._has, self._blobs.folders(self._name)), reverse=True):
            folder = self._out / name
            folder.mkdir(parents=True)
            try:
                for file in self._blobs.files(f"{self._name}/{name}"):
                    if file != COMPLETE:
                        shutil.copyfile(self._blobs.local_path(f"{self._name}/{name}/{file}"), folder / file)
            except LostError as error:
                # Training resumes from an older one, or from the start.
                log.warning("checkpoint_lost", error=str(error))
                shutil.rmtree(folder)
                self._blobs.delete_tree(f"{self._name}/{name}")
                continue
            self._stored = name
            return

    def store(self) -> None:
        """Copy the run's latest checkpoint, unless that was done, and forget the one before."""
        latest = latest_checkpoint(self._out)
        if latest is None or latest.name == self._stored:
            return
        with tempfile.TemporaryDirectory(dir=self._out, prefix=".snapshot-") as folder:
            snapshot = Path(folder)
            if not self._link(latest, snapshot):
                return  # A newer one has taken its place meanwhile; it is stored at the next report.
            for file in sorted(snapshot.iterdir()):
                self._blobs.put_file(f"{self._name}/{latest.name}/{file.name}", file)
        self._blobs.put_bytes(f"{self._name}/{latest.name}/{COMPLETE}", b"")
        before, self._stored = self._stored, latest.name
        if before is not None:
            self._blobs.delete_tree(f"{self._name}/{before}")

    def _link(self, checkpoint: Path, snapshot: Path) -> bool:
        """Hold on to a checkpoint's files, and say whether all were there: training in other processes does not wait.

        What is linked stays, however long it takes to store it.
        """
        try:
            for file in sorted(checkpoint.iterdir()):
                os.link(file, snapshot / file.name)
        except FileNotFoundError:
            if latest_checkpoint(self._out) == checkpoint:
                raise
        # A newer checkpoint is there before the files of this one go.
        return latest_checkpoint(self._out) == checkpoint

    def clear(self) -> None:
        """Remove them: the run is over."""
        self._blobs.delete_tree(self._name)

    def _has(self, name: str) -> bool:
        return self._blobs.exists(f"{self._name}/{name}/{COMPLETE}")
