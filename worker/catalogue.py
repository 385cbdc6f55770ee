"""Embed a shard of the catalogue under the policy's recommendation head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from minirec.policy.catalogue import embed_items, first_with_same_prompt
from minirec.specs import CatalogueSpec
from minirec.store import Store
from minirec.store.blobs import BlobStore
from minirec.store.errors import LostError, NotFoundError
from minirec.store.machine import Outcome
from minirec.worker.datasets import open_dataset
from minirec.worker.groups import spec_of_group
from minirec.worker.policies import scoring_policy
from minirec.worker.work import Work


def run(work: Work, spec: CatalogueSpec) -> Outcome:
    """Store the unit vectors `(items, d)` of one shard of the catalogue."""
    blobs, start = work.store.blobs, work.claim.unit * spec.shard_size
    items = open_dataset(blobs, spec.content_hash).items
    part = slice(start, start + spec.shard_size)
    blob = spec.shard_blob(work.claim.unit)
    if blobs.exists(blob):
        work.progress(len(items[part]), cached=len(items[part]))
        return Outcome()
    policy = scoring_policy(spec.model, spec.proxy, work.settings, blobs)
    first = first_with_same_prompt(items)[part]
    own = np.flatnonzero(first == np.arange(start, start + len(first)))
    embeddings = np.zeros((len(first), policy.hidden_size), dtype=np.float32)
    embeddings[own] = embed_items(policy, [items[start + row] for row in own], on_batch=work.progress)
    # Those that read like an item of an earlier shard stay zero here, and get that one's vector when they are read.
    blobs.put_arrays(blob, {"embeddings": embeddings, "same_as": first})
    work.done = len(first)
    return Outcome()


def load_catalogue(store: Store, name: str) -> npt.NDArray[np.float32]:
    """Return the whole catalogue's unit vectors `(M, d)`. Raises StoreError."""
    units, spec = spec_of_group(store, CatalogueSpec, name)
    return _load(store.blobs, tuple(spec.shard_blob(shard) for shard in range(units)))


def find_catalogue(store: Store, name: str) -> npt.NDArray[np.float32] | None:
    """Return the same where it was embedded for somebody and is still there."""
    try:
        return load_catalogue(store, name)
    except (NotFoundError, LostError):
        return None


@lru_cache(maxsize=2)
def _load(blobs: BlobStore, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    shards = list(blobs.get_all_arrays(names))
    embeddings = np.concatenate([shard["embeddings"] for shard in shards])
    same_as = np.concatenate([shard["same_as"] for shard in shards])
    found: npt.NDArray[np.float32] = embeddings[same_as]
    return found
