"""Embed a shard of the catalogue under the policy's recommendation head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from minirec.policy.catalogue import embed_items
from minirec.store import Store
from minirec.store.blobs import BlobStore
from minirec.store.errors import LostError, NotFoundError
from minirec.store.machine import Outcome
from worker import plan
from worker.datasets import open_dataset
from worker.policies import policy_of
from worker.work import Work


def run(work: Work) -> Outcome:
    """Store the unit vectors `(items, d)` of one shard of the catalogue."""
    spec = work.claim.spec
    dataset = open_dataset(work.store.blobs, spec["content_hash"])
    start = work.claim.unit * spec["shard_size"]
    items = dataset.items[start : start + spec["shard_size"]]
    blob = plan.catalogue_blob(spec, work.claim.unit)
    if work.store.blobs.exists(blob):
        work.progress(len(items), cached=len(items))
        return Outcome()
    policy = policy_of(work)
    embeddings = embed_items(policy, items, on_batch=work.progress)
    work.store.blobs.put_arrays(blob, {"embeddings": embeddings})
    work.done = len(items)
    return Outcome()


def load_catalogue(store: Store, name: str) -> npt.NDArray[np.float32]:
    """The whole catalogue's unit vectors `(M, d)`."""
    units, spec = store.jobs.group(plan.catalogue_group(name))
    return _load(store.blobs, tuple(plan.catalogue_blob(spec, shard) for shard in range(units)))


def find_catalogue(store: Store, name: str) -> npt.NDArray[np.float32] | None:
    """The same where it was embedded for somebody and is still there."""
    try:
        return load_catalogue(store, name)
    except (NotFoundError, LostError):
        return None


@lru_cache(maxsize=2)
def _load(blobs: BlobStore, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    return np.concatenate([arrays["embeddings"] for arrays in blobs.get_all_arrays(names)])
