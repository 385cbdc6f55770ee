"""Names that the service and the workers both use: where a dataset, its signals and a selection's result are kept."""

from __future__ import annotations


def samples_blob(content_hash: str) -> str:
    """The samples of a dataset's content."""
    return f"datasets/{content_hash}/samples.parquet"


def items_blob(content_hash: str) -> str:
    """The catalogue of a dataset's content."""
    return f"datasets/{content_hash}/items.parquet"


def prompts_blob(content_hash: str) -> str:
    """The prompts of a dataset's content."""
    return f"datasets/{content_hash}/prompts.parquet"


def signals_blob(content_hash: str) -> str:
    """Rewards, and perhaps vectors and embeddings, that a client uploaded."""
    return f"signals/{content_hash}.safetensors"


def result_columns(selection_id: str) -> str:
    """The columns of a finished selection."""
    return f"selection:{selection_id}"
