"""Big arrays and files under one fsspec URL: a folder by default, an object store for a fleet."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from minirec.store.errors import BlobCorruptError, BlobMissingError

Arrays = dict[str, np.ndarray[Any, Any]]


class BlobStore:
    """Named, immutable blobs. A name appears only once its content is whole."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)

    @cached_property
    def _cache(self) -> Path:
        """Where copies of a remote store's blobs are kept on this machine."""
        return _private_folder() / hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(name)))

    def put_file(self, name: str, source: Path) -> None:
        """Store a local file; the name exists only when all of it is there."""
        if self._is_local:
            with open(source, "rb") as content:
                self._publish(name, content)
        else:
            self._fs.put_file(str(source), self._target(name))

    def put_bytes(self, name: str, content: bytes) -> None:
        """Store a small content."""
        self._write(name, content)

    def put_arrays(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Store named arrays as one safetensors file."""
        self._write(name, save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))

    def get_arrays(self, name: str) -> Arrays:
        """Read what `put_arrays` stored. Raises BlobMissingError or BlobCorruptError."""
        try:
            if self._is_local:
                return load_file(self.local_path(name))
            return load(self._fs.cat_file(self._path(name)))
        except FileNotFoundError as error:
            raise BlobMissingError(name, self.url) from error
        except SafetensorError as error:
            raise BlobCorruptError(name, self.url, str(error)) from error

    def local_path(self, name: str) -> Path:
        """A path to the blob on this machine; fetched once where the store is remote."""
        if self._is_local:
            path = Path(self._path(name))
            if not path.exists():
                raise BlobMissingError(name, self.url)
            return path
        path = self._cache / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            try:
                self._fs.get_file(self._path(name), str(partial))
            except FileNotFoundError as error:
                raise BlobMissingError(name, self.url) from error
            os.replace(partial, path)
        return path

    def files(self, name: str) -> list[str]:
        """Names of the blobs directly below a name; none if there is nothing."""
        return self._entries(name, "file")

    def folders(self, name: str) -> list[str]:
        """Names that have blobs below them, directly below a name; none if there is nothing."""
        return self._entries(name, "directory")

    def _entries(self, name: str, kind: str) -> list[str]:
        if not self._fs.exists(self._path(name)):
            return []
        entries = self._fs.ls(self._path(name), detail=True, refresh=True)
        names = (entry["name"].rstrip("/").rsplit("/", 1)[1] for entry in entries if entry["type"] == kind)
        return sorted(entry for entry in names if not entry.endswith(".partial"))

    def delete(self, name: str) -> None:
        """Remove a blob; one that is not there is fine."""
        if self.exists(name):
            self._fs.rm(self._path(name))

    def delete_tree(self, name: str) -> None:
        """Remove every blob below a name."""
        if self._fs.exists(self._path(name)):
            self._fs.rm(self._path(name), recursive=True)

    def check(self) -> None:
        """Write and remove a small blob; raises what the storage raises."""
        name = f"checks/{uuid.uuid4().hex}"
        self._write(name, b"ok")
        self.delete(name)

    def _write(self, name: str, content: bytes) -> None:
        if self._is_local:
            self._publish(name, io.BytesIO(content))
        else:
            self._fs.pipe_file(self._target(name), content)

    def _target(self, name: str) -> str:
        """A blob's path, in a folder that is there."""
        target = self._path(name)
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        return target

    def _publish(self, name: str, content: BinaryIO) -> None:
        """Write to a folder: object stores publish an object when it is whole, a folder needs the rename."""
        target = Path(self._target(name))
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
        try:
            with open(partial, "wb") as sink:
                shutil.copyfileobj(content, sink, 1 << 20)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _private_folder() -> Path:
    """This user's folder for copies of remote blobs. Raises PermissionError where it is another's."""
    folder = Path(tempfile.gettempdir()) / f"minirec-blobs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077 or not stat.S_ISDIR(facts.st_mode):
        raise PermissionError(f"{folder} is open to other users; remove it, or set TMPDIR to a folder of your own")
    return folder
