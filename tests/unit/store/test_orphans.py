"""What nobody needs is found and removed, and the rest is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minirec.cli.data_folder import DataFolder, RunningStack
from minirec.cli.main import app
from minirec.settings import settings
from minirec.store import Store
from minirec.store.machine import Outcome, Stage
from minirec.store.orphans import find_orphans, remove_orphans
from minirec.store.retention import keep_dataset


def fill(store: Store) -> None:
    """A job with scores, as this release leaves it."""
    stage = Stage("scoring", "score:a", "gpu", "score", 1, 1, "{}")
    store.machine.create("sel_1", "selection", {}, [stage])
    claim = store.machine.claim("score:a", 0, worker="w", lease=60)
    assert claim is not None
    store.blobs.put_bytes("scorings/a/64/shard", b"x")
    assert store.machine.commit(claim, progress=1, outcome=Outcome(writes=[("columns:scores:a", "00000000", b"x")]))


def litter(store: Store) -> None:
    """What nobody needs."""
    store.blobs.put_bytes("scorings/b/64/shard", b"x" * 100)
    store.blobs._write("scorings/a/64/shard.0123.partial", b"x")
    store.blobs.put_bytes("datasets/gone/samples.parquet", b"x")
    for key in ("group:score:b", "group:score:b:units", "columns:scores:b", "job:sel_9:events"):
        store.redis.hset(f"{store.prefix}{key}", "x", "y")
    store.redis.sadd(f"{store.prefix}output:pools/z", "group:score:z")
    store.redis.xadd(f"{store.prefix}job:sel_8:events", {"type": "status"})


ORPHANS = {
    "scorings/b/64/shard",
    "scorings/b/64/shard.crc32",
    "scorings/a/64/shard.0123.partial",
    "datasets/gone/samples.parquet",
    "datasets/gone/samples.parquet.crc32",
}
KEYS = {
    "group:score:b",
    "group:score:b:units",
    "columns:scores:b",
    "job:sel_9:events",
    "job:sel_8:events",
    "output:pools/z",
}


def test_what_nobody_needs_is_found_and_removed(store: Store) -> None:
    fill(store)
    before = set(store.blobs.all_names()), set(store.redis.scan_iter("*"))
    litter(store)
    found = find_orphans(store, fresh_seconds=-1)
    assert set(found.blobs) == ORPHANS
    assert found.blobs["scorings/b/64/shard"] == 100
    assert set(found.keys) == KEYS
    remove_orphans(store, found)
    assert (set(store.blobs.all_names()), set(store.redis.scan_iter("*"))) == before
    assert not find_orphans(store, fresh_seconds=-1).blobs


def test_what_was_just_written_is_left_alone(store: Store) -> None:
    fill(store)
    litter(store)
    assert find_orphans(store).blobs == {}


def test_a_dataset_keeps_its_content_only_while_it_is_there(store: Store) -> None:
    store.blobs.put_bytes("datasets/x/samples.parquet", b"x")
    keep_dataset(store, "ds_1", "x")
    assert len(find_orphans(store, fresh_seconds=-1).blobs) == 2
    store.redis.hset(f"{store.prefix}datasets", "ds_1", "{}")
    assert find_orphans(store, fresh_seconds=-1).blobs == {}


def test_jobs_of_an_older_release_keep_what_they_made(store: Store) -> None:
    fill(store)
    store.blobs.put_bytes("pools/a.safetensors", b"x")
    old = store.redis.lindex(f"{store.prefix}job:sel_1:stages", 0)
    assert old is not None
    stage = json.loads(old)
    del stage["outputs"]
    store.redis.lset(f"{store.prefix}job:sel_1:stages", 0, json.dumps(stage))
    store.redis.hdel(f"{store.prefix}job:sel_1", "named")
    for key in store.redis.scan_iter(f"{store.prefix}*"):
        if key.endswith((b":jobs", b":outputs")) or b"output:" in key:
            store.redis.delete(key)
    found = find_orphans(store, fresh_seconds=-1)
    assert (found.blobs, found.keys) == ({}, {})


@pytest.mark.parametrize("dry", [True, False])
def test_the_command_says_what_goes(store: Store, monkeypatch: pytest.MonkeyPatch, redis_url: str, dry: bool) -> None:
    fill(store)
    litter(store)
    monkeypatch.setattr("minirec.store.orphans.find_orphans.__kwdefaults__", {"fresh_seconds": -1})
    monkeypatch.setenv("MINIREC_REDIS_URL", redis_url)
    monkeypatch.setenv("MINIREC_BLOB_URL", store.blobs.url)
    settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["gc", "--dry-run"] if dry else ["gc"])
    finally:
        settings.cache_clear()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert {line.split("\t")[0] for line in lines if "\t" in line} == ORPHANS | KEYS
    there = store.blobs.exists("scorings/b/64/shard")
    assert there == dry
    assert store.blobs.exists("scorings/a/64/shard")


def test_the_command_finds_the_stack_that_runs_here(
    store: Store, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    fill(store)
    litter(store)
    monkeypatch.setattr("minirec.store.orphans.find_orphans.__kwdefaults__", {"fresh_seconds": -1})
    monkeypatch.delenv("MINIREC_REDIS_URL", raising=False)
    monkeypatch.setenv("MINIREC_DATA_DIR", str(tmp_path))
    folder = DataFolder(tmp_path)
    with folder.locked():
        folder.write_note(RunningStack("http://127.0.0.1:1", str(tmp_path), "/models", 1, {}, "/data/key"))
        folder.write_redis_url(redis_url)
        assert folder.redis_url_file.stat().st_mode & 0o777 == 0o600
        assert store.blobs.url == folder.blobs.resolve().as_uri()
        result = CliRunner().invoke(app, ["gc", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert {line.split("\t")[0] for line in result.stdout.splitlines() if "\t" in line} == KEYS | ORPHANS


def test_a_redis_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREC_REDIS_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["gc"])
    finally:
        settings.cache_clear()
    assert result.exit_code == 1
    assert "MINIREC_REDIS_URL" in result.output
