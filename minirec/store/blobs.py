"""Big arrays and files under one fsspec URL: a folder by default, an object store for a fleet."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError

from minirec.store import checksums
from minirec.store.cache import BlobCache
from minirec.store.checksums import Arrays as Arrays
from minirec.store.checksums import ChecksumError
from minirec.store.errors import BlobCorruptError, BlobMissingError, BlobsLostError

CACHE_BYTES = 20 * 1024**3
BATCH = 1000
"""Blobs that are deleted in one go."""
READERS = 16
"""Blobs of a remote store that are read at the same time."""


class BlobStore:
    """Named, immutable blobs. A name appears only once its content is whole."""

    def __init__(self, url: str, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self.cache = None if self._is_local else BlobCache(hashlib.sha256(url.encode()).hexdigest()[:12], cache_bytes)
        """Copies on this machine, where the store is remote."""
        self._verified: dict[str, tuple[int, int]] = {}

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(name)))

    def size(self, name: str) -> int:
        """Return how many bytes a blob has. Raises BlobMissingError."""
        try:
            return int(self._fs.size(self._path(name)))
        except FileNotFoundError as error:
            raise BlobMissingError(name, self.url) from error

    def age(self, name: str, now: float) -> float:
        """Return how many seconds ago a file of the store was written; infinite where the store does not say."""
        try:
            return now - float(self._fs.modified(self._path(name)).timestamp())
        except (FileNotFoundError, NotImplementedError):
            return float("inf")

    def put_file(self, name: str, source: Path) -> None:
        """Store a local file; the name exists only when all of it is there."""
        self._write(name + checksums.SUFFIX, checksums.of_file(source).encode())
        if self._is_local:
            with open(source, "rb") as content:
                self._publish(name, content)
        else:
            self._fs.put_file(str(source), self._target(name))

    def put_bytes(self, name: str, content: bytes) -> None:
        """Store a small content."""
        self._write(name + checksums.SUFFIX, checksums.of_bytes(content).encode())
        self._write(name, content)

    def put_arrays(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Store named arrays as one safetensors file."""
        self._write(name, checksums.pack_arrays(arrays))

    def get_arrays(self, name: str) -> Arrays:
        """Read named arrays, stored with `put_arrays` or as a file. Raises BlobMissingError or BlobCorruptError."""
        try:
            if self._is_local:
                arrays, checked = checksums.read_arrays(Path(self._path(name)))
                if not checked:
                    self.local_path(name)  # It may have a checksum beside it.
            else:
                content = self._fs.cat_file(self._path(name))
                arrays, checked = checksums.unpack_arrays(content)
                if not checked:
                    self._verify(name, checksums.of_bytes(content))
        except FileNotFoundError as error:
            raise BlobMissingError(name, self.url) from error
        except (SafetensorError, ChecksumError) as error:
            raise BlobCorruptError(name, self.url, str(error)) from error
        return arrays

    def get_array(self, name: str, array: str) -> np.ndarray[Any, Any]:
        """Read one of the arrays that were stored as a file. Raises BlobMissingError or BlobCorruptError."""
        try:
            return checksums.read_array(self.local_path(name), array)
        except SafetensorError as error:
            raise BlobCorruptError(name, self.url, str(error)) from error

    def get_all_arrays(self, names: Iterable[str]) -> Iterator[Arrays]:
        """Read many blobs. Raises BlobsLostError in the end, with the name of each that is missing or corrupt."""
        lost: list[BlobMissingError | BlobCorruptError] = []
        for arrays in self._read_ahead(names):
            if not isinstance(arrays, dict):
                lost.append(arrays)
            elif not lost:
                yield arrays
        if lost:
            raise BlobsLostError(lost)

    def _read_ahead(self, names: Iterable[str]) -> Iterator[Arrays | BlobMissingError | BlobCorruptError]:
        """Read blobs in their order, some at the same time: a remote store takes its time for each."""

        def read(name: str) -> Arrays | BlobMissingError | BlobCorruptError:
            try:
                return self.get_arrays(name)
            except (BlobMissingError, BlobCorruptError) as error:
                return error

        if self._is_local:
            yield from map(read, names)
            return
        under_way: deque[Future[Arrays | BlobMissingError | BlobCorruptError]] = deque()
        with ThreadPoolExecutor(READERS, thread_name_prefix="blobs") as pool:
            try:
                for name in names:
                    under_way.append(pool.submit(read, name))
                    if len(under_way) == READERS:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for one in under_way:
                    one.cancel()

    def get_bytes(self, name: str) -> bytes:
        """Read what `put_bytes` stored. Raises BlobMissingError or BlobCorruptError."""
        return self.local_path(name).read_bytes()

    def local_path(self, name: str) -> Path:
        """Return a path to the blob on this machine, fetched once where the store is remote.

        Raises BlobMissingError or BlobCorruptError.
        """
        if self.cache is not None:
            return self.cache.get(name, lambda path: self._fetch(name, path))
        path = Path(self._path(name))
        try:
            facts = path.stat()
        except FileNotFoundError as error:
            raise BlobMissingError(name, self.url) from error
        version = (facts.st_mtime_ns, facts.st_size)
        if self._verified.get(name) != version:
            self._verify(name, checksums.of_file(path))
            self._verified[name] = version
        return path

    def _fetch(self, name: str, path: Path) -> None:
        try:
            self._fs.get_file(self._path(name), str(path))
        except FileNotFoundError as error:
            raise BlobMissingError(name, self.url) from error
        self._verify(name, checksums.of_file(path))

    def _verify(self, name: str, found: str) -> None:
        try:
            expected = self._fs.cat_file(self._path(name + checksums.SUFFIX))
        except FileNotFoundError:
            return  # Arrays have theirs inside; an older release wrote none.
        if expected.decode(errors="replace") != found:
            raise BlobCorruptError(name, self.url, "it fails its checksum")

    def files(self, name: str) -> list[str]:
        """Names of the blobs directly below a name; none if there is nothing."""
        return self._entries(name, "file")

    def folders(self, name: str) -> list[str]:
        """Names that have blobs below them, directly below a name; none if there is nothing."""
        return self._entries(name, "directory")

    def _entries(self, name: str, kind: str) -> list[str]:
        try:
            entries = self._fs.ls(self._path(name), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        names = (entry["name"].rstrip("/").rsplit("/", 1)[1] for entry in entries if entry["type"] == kind)
        return sorted(entry for entry in names if not entry.endswith((".partial", checksums.SUFFIX)))

    def all_names(self) -> dict[str, int]:
        """Return every file in the store with its size in bytes: blobs, their checksums, and what was cut off."""
        root = self._root.rstrip("/")
        if not self._fs.exists(root):
            return {}
        self._fs.invalidate_cache()
        found = self._fs.find(root, detail=True)
        return {path.removeprefix(root).lstrip("/"): int(facts["size"] or 0) for path, facts in found.items()}

    def delete(self, *names: str) -> None:
        """Remove blobs; those that are not there are fine."""
        paths = [self._path(name + suffix) for name in names for suffix in ("", checksums.SUFFIX)]
        if self._is_local:
            for path in paths:
                Path(path).unlink(missing_ok=True)
        else:
            self._delete_remote(paths)
        if self.cache is not None:
            for name in names:
                self.cache.forget(name)

    def _delete_remote(self, paths: list[str]) -> None:
        try:
            self._fs.rm(paths)  # In one request, where the store knows such.
        except FileNotFoundError:  # Some stores stop at the first that is not there.
            for path in paths:
                with suppress(FileNotFoundError):
                    self._fs.rm(path)

    def delete_tree(self, name: str, *, on_batch: Callable[[], None] = lambda: None) -> None:
        """Remove every blob below a name, some at a time; `on_batch` is called before each time, and may raise."""
        name = name.rstrip("/")
        self._fs.invalidate_cache()  # Others have written since it was listed.
        paths = sorted(self._fs.find(self._path(name)))
        for start in range(0, len(paths), BATCH):
            on_batch()
            if self._is_local:
                for path in paths[start : start + BATCH]:
                    Path(path).unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    self._fs.rm(paths[start : start + BATCH])
        if self._is_local:
            shutil.rmtree(self._path(name), ignore_errors=True)
        if self.cache is not None:
            self.cache.forget(f"{name}/")

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
        """A blob's path, in a folder that is there; object stores have none, and would ask for the bucket."""
        target = self._path(name)
        if self._is_local:
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
