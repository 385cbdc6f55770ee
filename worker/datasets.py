"""Datasets as the workers read them: opened once per process and content."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from minirec.api_schemas.datasets import Kind
from minirec.data.dataset import Dataset, PromptDataset
from minirec.store.blobs import BlobStore
from minirec.store.names import items_blob, prompts_blob, samples_blob


def open_dataset(blobs: BlobStore, content_hash: str) -> Dataset:
    """Return the dataset with this content. Raises BlobMissingError."""
    return _open(*dataset_files(blobs, content_hash))


def dataset_files(blobs: BlobStore, content_hash: str) -> tuple[Path, Path]:
    """Return samples and items of the dataset with this content, on this machine. Raises BlobMissingError."""
    return blobs.local_path(samples_blob(content_hash)), blobs.local_path(items_blob(content_hash))


def open_samples(blobs: BlobStore, content_hash: str, kind: Kind) -> Dataset | PromptDataset:
    """Return the dataset of this kind with this content. Raises BlobMissingError."""
    return open_prompts(blobs, content_hash) if kind == "prompts" else open_dataset(blobs, content_hash)


def open_prompts(blobs: BlobStore, content_hash: str) -> PromptDataset:
    """Return the prompt dataset with this content. Raises BlobMissingError."""
    return _open_prompts(prompts_file(blobs, content_hash))


def prompts_file(blobs: BlobStore, content_hash: str) -> Path:
    """Return the prompts of the dataset with this content, on this machine. Raises BlobMissingError."""
    return blobs.local_path(prompts_blob(content_hash))


@lru_cache(maxsize=4)
def _open(samples: Path, items: Path) -> Dataset:
    return Dataset.open(samples, items)


@lru_cache(maxsize=4)
def _open_prompts(prompts: Path) -> PromptDataset:
    return PromptDataset.open(prompts)
