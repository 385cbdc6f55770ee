"""The asynchronous client leaves its event loop free: no file is opened, read or written in the loop's thread."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import httpx2
import pytest

from minirec.client import AsyncMiniRec, parts
from minirec.client._async import files
from minirec.client.parts import FilePart
from tests.unit.client.scripted_service import Script
from tests.unit.client.test_client_resources import DATASET, ROW
from tests.unit.client.test_client_training import FILES
from tests.unit.client.test_client_training import files as artifacts

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}
watched: dict[int, list[str]] = {}
"""What a thread did to files, for threads that are watched now."""


def note(event: str, path: object) -> None:
    if (done := watched.get(threading.get_ident())) is not None:
        done.append(f"{event} {path}")


def hook(event: str, arguments: Sequence[object], events: Set[str] = frozenset(EVENTS)) -> None:
    # Hooks stay to the end of the process, when the names of this module are gone: its own argument is not.
    if event in events:
        note(event, arguments[0])


sys.addaudithook(hook)


@contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """Collect what this thread does to files in `folder`."""
    done: list[str] = []
    watched[threading.get_ident()] = []
    try:
        yield done
    finally:
        done += [line for line in watched.pop(threading.get_ident()) if str(folder) in line or " part " in line]


@pytest.fixture(autouse=True)
def _disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files lie in the test's folder from their first byte on, and reads are watched like opens."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "SPOOL_BYTES", 1)
    monkeypatch.setattr(parts, "SPOOL_BYTES", 1)
    read = FilePart.read

    def reading(part: FilePart, length: int = -1) -> bytes:
        note("read part", part.name)
        return read(part, length)

    monkeypatch.setattr(FilePart, "read", reading)


def zipped() -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("train.jsonl", "{}\n" * 1000)
    return file.getvalue()


async def respond(request: httpx2.Request) -> httpx2.Response:
    await request.aread()
    path = request.url.path
    if path == "/v1/datasets":
        return httpx2.Response(201, json=DATASET)
    if path.endswith("/export"):
        return httpx2.Response(200, content=zipped())
    if path.endswith("/subset"):
        return httpx2.Response(200, content=json.dumps(ROW).encode() + b"\n")
    return artifacts(request)


async def use(folder: Path) -> list[str]:
    transport = httpx2.MockTransport(respond)
    async with AsyncMiniRec(base_url="http://service.test", http_client=httpx2.AsyncClient(transport=transport)) as own:
        await own.datasets.upload(samples=folder / "s.jsonl", items=[{"item_id": "x", "title": "X"}])
        rows = [row.id async for row in own.selections.subset_rows("sel_1")]
        await own.selections.download_subset("sel_1", folder / "subset.jsonl")
        await own.selections.export("sel_1", format="trl", path=folder / "for-trl")
        await own.training_jobs.download("trn_1", folder / "adapter")
    return rows


def test_no_file_is_touched_in_the_loops_thread(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"id": "a"}\n' * 20_000)
    with watching(tmp_path) as done:
        rows = asyncio.run(use(tmp_path))
    assert done == []
    assert rows == ["a"]
    assert json.loads((tmp_path / "subset.jsonl").read_text())["id"] == "a"
    assert (tmp_path / "for-trl" / "train.jsonl").read_text() == "{}\n" * 1000
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == sorted(FILES)


def test_the_watch_sees_what_the_synchronous_client_does(tmp_path: Path) -> None:
    with watching(tmp_path) as done:
        Script(httpx2.Response(201, json=DATASET)).client().datasets.upload(prompts=[{"id": "a"}])
        Script(httpx2.Response(200, content=b"x")).client().selections.download_subset("sel_1", tmp_path / "x")
    assert {line.split()[0] for line in done} >= {"open", "read", "os.rename"}


def test_progress_is_reported_in_the_loops_thread(tmp_path: Path) -> None:
    threads: set[int] = set()

    async def upload() -> None:
        transport = httpx2.MockTransport(respond)
        async with AsyncMiniRec(
            base_url="http://service.test", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            await client.datasets.upload(
                prompts=[{"id": "a"}], on_progress=lambda *_: threads.add(threading.get_ident())
            )

    asyncio.run(upload())
    assert threads == {threading.get_ident()}


def test_a_cancelled_download_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "subset.jsonl"
    target.write_text("before")

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1_000_000
                await asyncio.sleep(0)

    async def cancel() -> None:
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, stream=Endless()))
        async with AsyncMiniRec(
            base_url="http://service.test", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.selections.download_subset("sel_1", target)

    asyncio.run(cancel())
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["subset.jsonl"]
