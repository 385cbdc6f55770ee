"""A store on a real server, a tiny model, a dataset in it, and a runner that does units in this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirec.api_schemas import Dataset
from minirec.data.ingest import ingest, ingest_prompts
from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.devices import Device
from minirec.store.ids import new_id
from minirec.store.machine import Doorbell
from minirec.store.names import prompts_blob
from minirec.worker.runner import Runner
from tests.builders import tiny_model, with_splits, write_files, write_prompts
from tests.worker.bench import Bench


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder)
    return folder


@pytest.fixture
def bench(redis_url: str, models_dir: Path, tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(
        redis_url=redis_url,
        blob_url=(tmp_path / "blobs").as_uri(),
        models_dir=models_dir,
        shard_size=16,
        micro_batch=8,
        catalogue_shard_size=16,
        lease_seconds=5,
    )
    doorbells: list[Doorbell] = []
    store = connect(settings, ring=doorbells.extend)
    store.redis.flushall()
    stopping = multiprocessing.get_context("fork").Event()
    dataset_id = upload(store, tmp_path)
    store.devices.report(Device("cpu", "float32"))  # as a worker does that starts
    yield Bench(store, settings, Runner(store, settings, stopping), dataset_id, doorbells)
    store.redis.close()


@pytest.fixture
def split_bench(bench: Bench, tmp_path: Path) -> Bench:
    """The bench, with a dataset that has samples to validate and to test with."""
    bench.dataset_id = upload(bench.store, tmp_path, splits=True)
    return bench


@pytest.fixture
def prompt_bench(bench: Bench, tmp_path: Path) -> Bench:
    """The bench, with a dataset of prompts."""
    done = ingest_prompts(write_prompts(tmp_path), tmp_path)
    bench.store.blobs.put_file(prompts_blob(done.content_hash), done.path)
    dataset = Dataset(
        id=new_id("ds"),
        kind="prompts",
        created_at=0,
        n_samples=done.n_prompts,
        n_items=0,
        n_users=0,
        splits=done.splits,
        content_hash=done.content_hash,
    )
    bench.store.datasets.put(dataset)
    bench.dataset_id = dataset.id
    return bench


def upload(store: Store, folder: Path, *, splits: bool = False) -> str:
    """Put a small dataset where the workers find it."""
    samples, items = write_files(folder)
    if splits:
        with_splits(samples)
    done = ingest(samples, items, folder)
    for name, path in (("samples", done.samples_path), ("items", done.items_path)):
        store.blobs.put_file(f"datasets/{done.content_hash}/{name}.parquet", path)
    dataset = Dataset(
        id=new_id("ds"),
        created_at=0,
        n_samples=done.n_samples,
        n_items=done.n_items,
        n_users=done.n_users,
        splits=done.splits,
        content_hash=done.content_hash,
    )
    store.datasets.put(dataset)
    return dataset.id
