"""Datasets' content in the blob store, shared by all datasets with the same rows."""

from __future__ import annotations

from pathlib import Path

from minirec.data.dataset import Dataset, PromptDataset
from minirec.store import Store
from minirec.store.names import items_blob, prompts_blob, samples_blob


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
