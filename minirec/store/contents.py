"""Datasets' content: stored once, shared by all datasets with the same rows, and not deleted while taken into use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import LockError

from minirec.api_schemas import Dataset
from minirec.data.content import Content
from minirec.store.errors import ContentBusyError, NotFoundError
from minirec.store.names import items_blob, prompts_blob, samples_blob
from minirec.store.renewal import renewed
from minirec.store.retention import adopt_jobs, drop_dataset, keep_dataset
from minirec.store.tenants import content_name

if TYPE_CHECKING:
    from minirec.store import Store

LOCK_SECONDS = 15.0
"""How long a content stays locked when the process that held the lock is gone."""
PATIENCE_SECONDS = 5.0
"""How long one waits for another's lock."""
_NAMES = {"items": items_blob, "samples": samples_blob, "prompts": prompts_blob}


@contextmanager
def content_lock(store: Store, content_hash: str) -> Iterator[None]:
    """Keep the deletion of a content apart from what takes it into use: another upload of it, or a new job.

    Raises ContentBusyError.
    """
    lock = store.redis.lock(
        f"{store.prefix}lock:content:{content_hash}",
        timeout=LOCK_SECONDS,
        blocking_timeout=PATIENCE_SECONDS,
        thread_local=False,
    )
    if not lock.acquire():
        raise ContentBusyError("another request is storing or deleting the same rows; try again in a minute")
    try:
        with renewed(lock.reacquire, every=LOCK_SECONDS / 3):
            yield
    finally:
        with suppress(LockError):  # It ran out meanwhile, and may be another's by now.
            lock.release()


def until_kept(keep: Callable[[], bool]) -> None:
    """Wait while the same content is being deleted. Raises ContentBusyError when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not keep():
        if time.monotonic() > deadline:
            raise ContentBusyError("the same rows are being deleted; try again in a minute")
        time.sleep(0.2)


def store_content(
    store: Store, dataset: Dataset, content: Content, tenant: str | None, record: Callable[[Dataset], bool | None]
) -> Dataset | None:
    """Store what was checked, blobs first and the record last: a dataset is there once all of it is.

    Args:
        store: Where to.
        dataset: Its record, without what is known of its content.
        content: What was checked.
        tenant: Whose it is.
        record: Writes the record; False: the dataset is not wanted any more.

    Returns:
        The record, whole; None where it is not wanted, and nothing is kept.

    Raises:
        ContentBusyError: The same rows are being deleted, or stored by another.
    """
    name = content_name(content.hash, tenant)
    whole = dataset.model_copy(update={**content.facts, "content_hash": name, "status": "ready"})
    with content_lock(store, name):
        whole.same_as = _earliest(store, name)
        until_kept(lambda: keep_dataset(store, whole.id, name))
        try:
            for part, path in content.tables.items():
                if not store.blobs.exists(blob := _NAMES[part](name)):
                    store.blobs.put_file(blob, path)
            wanted = record(whole) is not False
        except BaseException:
            drop_dataset(store, whole.id, name)
            raise
        if not wanted:
            drop_dataset(store, whole.id, name)
    return whole if wanted else None


def _earliest(store: Store, content_hash: str) -> str | None:
    """Return the first of the datasets that keep a content, null where there is none.

    A content is one tenant's, since its name is made from the tenant's.
    """
    adopt_jobs(store)  # Datasets of older releases keep theirs only then.
    found = []
    for owner in store.machine.owners_of(samples_blob(content_hash)):
        kind, _, name = owner.partition(":")
        if kind == "dataset":
            with suppress(NotFoundError):  # It is about to be deleted, or not ready yet.
                dataset = store.datasets.get(name)
                found.append((dataset.created_at, dataset.id))
    return min(found)[1] if found else None
