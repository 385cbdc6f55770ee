"""What nobody keeps is deleted, also when a collector dies on the way, and its copies go from every machine."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.blobs import BlobStore
from minirec.store.garbage import CacheKeeper, collect_garbage

counter = itertools.count()


@pytest.fixture(params=["folder", "object store"])
def any_store(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "object store":
        request.getfixturevalue("memory")
    url = (tmp_path / "blobs").as_uri() if request.param == "folder" else f"memory://b{os.getpid()}-{next(counter)}"
    store = connect(Settings(redis_url=redis_url, blob_url=url), ring=lambda bells: None)
    store.redis.flushall()
    return store


@pytest.fixture
def memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


def fill(store: Store) -> None:
    for name in ("scorings/a/64/x", "scorings/a/64/y", "scorings/ab/64/x", "pools/a", "pools/b"):
        store.blobs.put_bytes(name, b"x")


def names(store: Store) -> set[str]:
    return {name for name in store.blobs.all_names() if not name.endswith(".crc32")}


def test_blobs_and_prefixes_are_deleted_with_their_checksums(any_store: Store) -> None:
    fill(any_store)
    any_store.machine.drop("dataset:x", ["scorings/a/", "pools/a", "pools/none", "none/"])
    assert collect_garbage(any_store) == 4
    assert names(any_store) == {"scorings/ab/64/x", "pools/b"}
    assert len(any_store.blobs.all_names()) == 4
    assert collect_garbage(any_store) == 0


def test_a_collector_that_dies_is_followed_by_another(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(any_store)
    any_store.machine.drop("dataset:x", ["pools/a", "scorings/a/"])

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "delete_tree", die)
        with pytest.raises(KeyboardInterrupt):
            collect_garbage(any_store)
    assert any(name.startswith("scorings/a/") for name in names(any_store))
    collect_garbage(any_store)
    assert names(any_store) == {"scorings/ab/64/x", "pools/b"}


def test_one_collects_at_a_time(any_store: Store) -> None:
    fill(any_store)
    any_store.machine.drop("dataset:x", ["pools/a"])
    with any_store.redis.lock(f"{any_store.prefix}lock:garbage", timeout=60):
        assert collect_garbage(any_store) == 0
    assert collect_garbage(any_store) == 1


def test_other_machines_drop_their_copies(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: None
) -> None:
    url = f"memory://b{os.getpid()}-{next(counter)}"
    machines = []
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / machine))
        store = connect(Settings(redis_url=redis_url, blob_url=url), ring=lambda bells: None)
        store.redis.flushall()
        fill(store)
        copies = [store.blobs.local_path(name) for name in ("scorings/a/64/x", "pools/a", "pools/b")]
        machines.append((store, copies))
    machines[0][0].machine.drop("dataset:x", ["pools/a", "scorings/a/"])
    collect_garbage(machines[0][0])
    for machine, (store, copies) in zip(("one", "two"), machines, strict=True):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / machine))
        assert set(CacheKeeper(store).keep()) == {"pools/a", "scorings/a/"}
        assert [path.exists() for path in copies] == [False, False, True]


def test_the_longest_unused_copies_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: None) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blobs = BlobStore(f"memory://b{os.getpid()}-{next(counter)}", cache_bytes=250)
    now = time.time()
    paths = {}
    for name, hours in (("old", 5), ("older", 6), ("new", 0)):
        blobs.put_bytes(name, b"x" * 100)
        paths[name] = blobs.local_path(name)
        os.utime(paths[name], (now - hours * 3600,) * 2)
    assert blobs.local_path("older") == paths["older"]  # Asked for again: it is the newest now.
    assert blobs.cache is not None
    blobs.cache.tidy()
    assert {name for name, path in paths.items() if path.exists()} == {"older", "new"}


def test_a_copy_in_use_stays_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: None) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blobs = BlobStore(f"memory://b{os.getpid()}-{next(counter)}", cache_bytes=10)
    blobs.put_bytes("large", b"x" * 100)
    path = blobs.local_path("large")
    assert blobs.cache is not None
    blobs.cache.tidy()
    assert path.exists()
    blobs.cache.tidy(now=time.time() + 7200)
    assert not path.exists()


def test_a_copy_that_nobody_asked_for_in_a_week_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: None
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blobs = BlobStore(f"memory://b{os.getpid()}-{next(counter)}")
    blobs.put_bytes("small", b"x")
    path = blobs.local_path("small")
    assert blobs.cache is not None
    blobs.cache.tidy(now=time.time() + 6 * 86400)
    assert path.exists()
    blobs.cache.tidy(now=time.time() + 8 * 86400)
    assert not path.exists()
