"""Datasets' content in the blob store, shared by all datasets with the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis.exceptions import LockError

from minirec.data.dataset import Dataset, PromptDataset
from minirec.store import Store
from minirec.store.names import items_blob, prompts_blob, samples_blob
from service.problems import ProblemError
from service.renewal import renewed

LOCK_SECONDS = 15.0
"""How long a content stays locked when the process that held the lock is gone."""
PATIENCE_SECONDS = 5.0
"""How long a request waits for another's lock: the client hears that it is to come back."""


def open_content(store: Store, content_hash: str) -> Dataset | PromptDataset:
    """Return the rows of a dataset; its kind follows from the blobs that are there. Raises BlobMissingError."""
    prompts = prompts_blob(content_hash)
    if store.blobs.exists(prompts):
        return PromptDataset.open(store.blobs.local_path(prompts))
    return Dataset.open(
        store.blobs.local_path(samples_blob(content_hash)), store.blobs.local_path(items_blob(content_hash))
    )


def samples_path(store: Store, content_hash: str) -> Path:
    """Return the table of a dataset's samples, or of its prompts. Raises BlobMissingError."""
    prompts = prompts_blob(content_hash)
    return store.blobs.local_path(prompts if store.blobs.exists(prompts) else samples_blob(content_hash))


def until_kept(keep: Callable[[], bool]) -> None:
    """Wait while the same content is being deleted. Raises ProblemError 409 when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not keep():
        if time.monotonic() > deadline:
            raise ProblemError(409, "dataset_busy", "the same rows are being deleted; try again in a minute")
        time.sleep(0.2)


@contextmanager
def content_lock(store: Store, content_hash: str) -> Iterator[None]:
    """Keep the deletion of a content apart from what takes it into use: another upload of it, or a new job."""
    lock = store.redis.lock(
        f"{store.prefix}lock:content:{content_hash}",
        timeout=LOCK_SECONDS,
        blocking_timeout=PATIENCE_SECONDS,
        thread_local=False,
    )
    if not lock.acquire():
        raise ProblemError(
            409, "dataset_busy", "another request is storing or deleting the same rows; try again in a minute"
        )
    try:
        with renewed(lock.reacquire, every=LOCK_SECONDS / 3):
            yield
    finally:
        with suppress(LockError):  # It ran out meanwhile, and may be another's by now.
            lock.release()
