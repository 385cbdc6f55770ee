"""Datasets as the workers read them: opened once per process and content."""

from __future__ import annotations

from functools import lru_cache

from minirec.data.dataset import Dataset
from minirec.store.blobs import BlobStore


def open_dataset(blobs: BlobStore, content_hash: str) -> Dataset:
    """The dataset with this content. Raises BlobMissingError."""
    return _open(
        str(blobs.local_path(f"datasets/{content_hash}/samples.parquet")),
        str(blobs.local_path(f"datasets/{content_hash}/items.parquet")),
    )


@lru_cache(maxsize=4)
def _open(samples: str, items: str) -> Dataset:
    return Dataset.open(samples, items)
