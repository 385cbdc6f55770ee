"""A blob is there whole or not at all, in a folder and in an object store."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save

from minirec.store.blobs import BlobStore
from minirec.store.errors import BlobCorruptError, BlobMissingError, BlobsLostError

counter = itertools.count()


@pytest.fixture(params=["folder", "object store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "folder":
        yield BlobStore((tmp_path / "blobs").as_uri())
    else:
        url = f"memory://bucket{os.getpid()}-{next(counter)}/prefix"
        yield BlobStore(url)
        fsspec.filesystem("memory").store.clear()


def names_below(blobs: BlobStore) -> list[str]:
    """Everything that is stored, unfinished files too; of checksums only those whose blob is not there."""
    root = blobs._root.rstrip("/") + "/"
    names = {path.removeprefix(root) for path in blobs._fs.find(blobs._root)}
    return sorted(name for name in names if name.removesuffix(".crc32") not in names - {name})


def test_arrays_come_back_as_they_went_in(blobs: BlobStore) -> None:
    arrays: dict[str, np.ndarray] = {
        "gradient": np.arange(12, dtype=np.float32).reshape(3, 4),
        "signal": np.array([0, 1, 2], dtype=np.int8),
        "view": np.arange(10)[::3],
        "none": np.zeros((0, 5)),
    }
    blobs.put_arrays("scorings/a/shard-000001.safetensors", arrays)
    found = blobs.get_arrays("scorings/a/shard-000001.safetensors")
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(found[name], values)


def test_files_come_back_as_they_went_in(blobs: BlobStore, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(content)
    blobs.put_file("datasets/x/samples.parquet", tmp_path / "source")
    assert blobs.local_path("datasets/x/samples.parquet").read_bytes() == content
    assert names_below(blobs) == ["datasets/x/samples.parquet"]


def test_a_blob_can_be_written_again(blobs: BlobStore) -> None:
    for value in (1, 2):
        blobs.put_arrays("x", {"n": np.array([value])})
        assert blobs.get_arrays("x")["n"].tolist() == [value]


def test_what_is_not_there_is_missing_and_says_where_it_was_looked_for(blobs: BlobStore) -> None:
    assert not blobs.exists("nothing")
    for read in (blobs.get_arrays, blobs.local_path):
        with pytest.raises(BlobMissingError, match="MINIREC_BLOB_URL") as caught:
            read("nothing/x")
        assert blobs.url in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"not an array at all", b"\xff" * 100])
def test_what_cannot_be_read_is_corrupt(blobs: BlobStore, content: bytes) -> None:
    blobs.put_bytes("x", content)
    with pytest.raises(BlobCorruptError, match="cannot be read"):
        blobs.get_arrays("x")


def test_a_blob_cut_short_is_corrupt(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put_arrays("x", {"n": np.arange(100)})
    whole = blobs.local_path("x").read_bytes()
    blobs.put_bytes("y", whole[:-1])
    with pytest.raises(BlobCorruptError):
        blobs.get_arrays("y")


class Failing(io.BytesIO):
    """A source that breaks in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 1 << 20:
            raise OSError("the disk went away")
        return super().read(size)


def test_a_write_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    source = tmp_path / "source"
    source.write_bytes(b"x" * (4 << 20))
    real = open

    def breaking(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return Failing(source.read_bytes()) if str(file) == str(source) else real(file, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", breaking)
        with pytest.raises(OSError, match="went away"):
            blobs.put_file("datasets/x", source)
    assert names_below(blobs) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore((tmp_path / "blobs").as_uri())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        blobs.put_arrays("x", {"n": np.arange(10)})
    assert names_below(blobs) == []


def test_readers_see_the_old_blob_or_the_new_one(tmp_path: Path) -> None:
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    blobs.put_arrays("x", {"n": np.full(200_000, 0)})
    stop = threading.Event()

    def write() -> None:
        for value in itertools.count(1):
            if stop.is_set():
                return
            blobs.put_arrays("x", {"n": np.full(200_000, value)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert len(set(blobs.get_arrays("x")["n"].tolist()[::1000])) == 1
    finally:
        stop.set()
        writer.join()


def test_deleting_is_repeatable(blobs: BlobStore) -> None:
    for name in ("a/1", "a/b/2", "ab/3"):
        blobs.put_bytes(name, b"x")
    for _ in range(2):
        blobs.delete("a/1")
        assert names_below(blobs) == ["a/b/2", "ab/3"]
    for _ in range(2):
        blobs.delete_tree("a")
        assert names_below(blobs) == ["ab/3"]


def test_remote_blobs_are_fetched_once_and_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blobs = BlobStore(f"memory://bucket{os.getpid()}-{next(counter)}")
    blobs.put_bytes("d/x", b"content")
    fetched = []
    get_file = type(blobs._fs).get_file
    monkeypatch.setattr(
        type(blobs._fs), "get_file", lambda *args, **kwargs: (fetched.append(args), get_file(*args, **kwargs))
    )
    for _ in range(2):
        assert blobs.local_path("d/x").read_bytes() == b"content"
    assert len(fetched) == 1
    with pytest.raises(BlobMissingError):
        blobs.local_path("d/y")
    assert sorted(path.name for path in blobs.local_path("d/x").parent.iterdir()) == ["x"]


def test_the_check_leaves_nothing_behind(blobs: BlobStore) -> None:
    blobs.check()
    assert names_below(blobs) == []


def test_the_check_fails_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_bytes(b"")
    with pytest.raises(OSError, match="occupied"):
        BlobStore((tmp_path / "occupied").as_uri()).check()


def flip(blobs: BlobStore, name: str, position: int) -> None:
    """Flip a bit of a blob where it is stored."""
    path = blobs._path(name)
    content = bytearray(blobs._fs.cat_file(path))
    content[position] ^= 1
    blobs._fs.pipe_file(path, bytes(content))


@pytest.mark.parametrize("position", [-1, -40, 200])
def test_a_bit_that_flips_in_arrays_is_noticed(blobs: BlobStore, position: int) -> None:
    blobs.put_arrays("x", {"gradient": np.random.default_rng(0).random((10, 8)), "signal": np.arange(10)})
    flip(blobs, "x", position)
    with pytest.raises(BlobCorruptError, match="x in the blob store"):
        blobs.get_arrays("x")


@pytest.mark.parametrize("position", [-1, -40])
def test_a_bit_that_flips_in_arrays_that_were_stored_as_a_file_is_noticed(
    blobs: BlobStore, tmp_path: Path, position: int
) -> None:
    (tmp_path / "source").write_bytes(save({"rewards": np.random.default_rng(0).random((10, 8))}))
    blobs.put_file("x", tmp_path / "source")
    assert blobs.get_arrays("x")["rewards"].shape == (10, 8)
    flip(blobs, "x", position)
    with pytest.raises(BlobCorruptError, match="x in the blob store"):
        blobs.get_arrays("x")


def test_one_array_of_a_file_is_the_same_and_a_flipped_bit_in_any_of_them_is_noticed(
    blobs: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(save({"rewards": np.random.default_rng(0).random((10, 8)), "rows": np.arange(9)}))
    for name in ("x", "y"):
        blobs.put_file(name, tmp_path / "source")
    assert blobs.get_array("x", "rows").tolist() == [*range(9)]
    with pytest.raises(BlobCorruptError, match="x in the blob store"):
        blobs.get_array("x", "vectors")
    with pytest.raises(BlobMissingError):
        blobs.get_array("nothing", "rows")
    flip(blobs, "y", -40)
    with pytest.raises(BlobCorruptError, match="y in the blob store"):
        blobs.get_array("y", "rows")


@pytest.mark.parametrize("position", [0, 500, -1])
def test_a_bit_that_flips_in_a_file_is_noticed(blobs: BlobStore, tmp_path: Path, position: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(1000))
    blobs.put_file("a", tmp_path / "source")
    blobs.put_bytes("b", os.urandom(1000))
    for name in ("a", "b"):
        flip(blobs, name, position)
        with pytest.raises(BlobCorruptError, match="fails its checksum"):
            blobs.local_path(name)


def test_blobs_of_an_older_release_have_no_checksum_and_are_read(blobs: BlobStore) -> None:
    blobs._write("x", save({"n": np.arange(3)}))
    assert blobs.get_arrays("x")["n"].tolist() == [0, 1, 2]
    assert blobs.local_path("x").is_file()


def test_all_that_is_lost_of_many_blobs_is_named(blobs: BlobStore) -> None:
    for name in "abcd":
        blobs.put_arrays(name, {"n": np.arange(3)})
    assert len(list(blobs.get_all_arrays("abcd"))) == 4
    blobs.delete("b")
    flip(blobs, "d", -1)
    with pytest.raises(BlobsLostError, match="and 1 more") as caught:
        list(blobs.get_all_arrays("abcd"))
    assert caught.value.lost == ("b", "d")
