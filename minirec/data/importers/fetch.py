"""Where sources come from: paths, archives, URLs and tables in memory."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import MAX_FILES, File, InMemory, Source, files_in
from minirec.frames import columns_of

Origin = Any
"""A path, a URL, or a table in memory."""
MAX_DOWNLOAD = 16 << 30
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
"""Bytes unpacked per byte of an archive."""
_TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_PLAIN = {"Accept-Encoding": "identity"}
_COPY = 1 << 20
_UNSAFE = re.compile(r"[^\w.\-]+")


@contextmanager
def opened(origin: Origin | Iterable[Origin] | Mapping[str, Any]) -> Iterator[Source]:
    """Yield what is at an origin; downloads and unpacked archives are removed afterwards.

    Raises SourceError and OSError.
    """
    files: list[File] = []
    held: list[InMemory] = []
    with tempfile.TemporaryDirectory(prefix="minirec-import-") as folder:
        scratch = Path(folder)
        origins = _parts(origin)
        for number, (name, each) in enumerate(origins):
            if isinstance(each, str | os.PathLike):
                path = _local(each, scratch / str(number))
                files += files_in(path)
            elif (columns := columns_of(each)) is not None:
                held.append(InMemory(name, columns, each))
            else:
                raise SourceError(f"{name} is {type(each).__name__}: neither a path, a URL nor a table with columns")
        texts = [str(each) for _, each in origins if isinstance(each, str | os.PathLike)]
        yield Source(", ".join(texts + [table.name for table in held]) or "the source", tuple(files), tuple(held))


def _parts(origin: Any) -> list[tuple[str, Any]]:
    """Return the parts of an origin with what messages call them."""
    if isinstance(origin, str | os.PathLike):
        return [(str(origin), origin)]
    if columns_of(origin) is not None:
        return [("the table", origin)]
    if isinstance(origin, Mapping):
        return [(str(name), each) for name, each in origin.items()]
    if isinstance(origin, Iterable):
        found = list(origin)
        if found and not isinstance(found[0], str | os.PathLike) and columns_of(found[0]) is None:
            return [("the table", found)]
        return [
            (f"table {number}" if not isinstance(e, str | os.PathLike) else str(e), e)
            for number, e in enumerate(found, 1)
        ]
    return [("the source", origin)]


def _local(origin: str | os.PathLike[str], scratch: Path) -> Path:
    """Return a path on this machine with what is at a path or URL, unpacked."""
    text = os.fspath(origin)
    if "://" in text:
        scratch.mkdir()
        path = download(text, scratch)
    else:
        path = Path(text).expanduser()
        if not path.exists():
            hub = f" (from the hub: hf download --repo-type dataset {text} --local-dir FOLDER, then that folder)"
            raise SourceError(f"{text}: there is no such file or folder" + (hub if text.count("/") == 1 else ""))
    if path.is_dir() or not (zipfile.is_zipfile(path) or _is_tar(path)):
        return path
    folder = scratch.with_name(scratch.name + "-unpacked")
    folder.mkdir()
    unpack(path, folder)
    return folder


def _is_tar(path: Path) -> bool:
    """Tell whether a file is a tar archive, by its name and content."""
    return ".tar" in path.name.lower() or path.suffix.lower() == ".tgz" if tarfile.is_tarfile(path) else False


def download(url: str, folder: Path, *, limit: int = MAX_DOWNLOAD) -> Path:
    """Download a file into a folder, under its own name. Raises SourceError, also beyond `limit` bytes."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise SourceError(f"{url}: only http and https addresses are downloaded; fetch the file and give its path")
    name = _UNSAFE.sub("_", unquote(PurePosixPath(address.path).name)).lstrip(".") or "download"
    path = folder / name
    try:
        with (
            httpx2.stream("GET", url, headers=_PLAIN, follow_redirects=True, timeout=_TIMEOUT) as answer,
            path.open("wb") as file,
        ):
            if answer.status_code != 200:
                raise SourceError(f"{url}: the server answered {answer.status_code} {answer.reason_phrase}")
            if answer.headers.get("content-type", "").startswith("text/html"):
                raise SourceError(
                    f"{url}: the server sent a web page, and no file; give the address of the file itself"
                )
            size = 0
            for block in answer.iter_bytes(_COPY):
                size += len(block)
                if size > limit:
                    raise SourceError(f"{url}: larger than {limit:,} bytes; download it yourself and give its path")
                file.write(block)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SourceError(f"{url}: cannot be downloaded: {str(error) or type(error).__name__}") from error
    return path


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a folder. Raises SourceError for one that is damaged, unsafe or a bomb."""
    bound = min(MAX_UNPACKED, max(1 << 30, path.stat().st_size * MAX_RATIO))
    try:
        if zipfile.is_zipfile(path):
            _unzip(path, folder, bound)
        else:
            _untar(path, folder, bound)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceError(f"{path.name}: cannot be unpacked: {error}") from error


def _unzip(path: Path, folder: Path, bound: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _check(path, len(members), sum(member.file_size for member in members), bound)
        for member in members:
            target = _inside(folder, member.filename, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                _copy(source, sink, member.file_size, path)


def _copy(source: Any, sink: Any, size: int, path: Path) -> None:
    """Copy at most the bytes that an archive announces."""
    while block := source.read(_COPY):
        size -= len(block)
        if size < 0:
            raise SourceError(f"{path.name}: a file in it is larger than it says; refused")
        sink.write(block)


def _untar(path: Path, folder: Path, bound: int) -> None:
    with tarfile.open(path) as archive:
        count = total = 0
        for member in archive:
            if not member.isfile():
                continue
            count, total = count + 1, total + member.size
            _check(path, count, total, bound)
            target = _inside(folder, member.name, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            if source is not None:
                with source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _COPY)


def _check(path: Path, count: int, size: int, bound: int) -> None:
    if count > MAX_FILES or size > bound:
        raise SourceError(
            f"{path.name}: holds {count:,} files of {size:,} bytes, more than an import unpacks; unpack it yourself"
        )


def _inside(folder: Path, name: str, path: Path) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SourceError(f"{path.name}: a file in it would be written outside ({name!r}); refused")
    return target
