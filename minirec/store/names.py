"""Names that the service and the workers both use: where a dataset, its signals and a selection's result are kept."""

from __future__ import annotations

import re

_UNIT = re.compile(r"(?:^|-)(\d{6})(?=[-.])")


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


def dataset_outputs(content_hash: str) -> list[str]:
    """Everything that is stored for a dataset's content."""
    return [f"datasets/{content_hash}/"]


def outputs_of(group: str) -> list[str]:
    """Return what a group's units write, by the group's name: for stages that do not say it (those of release 0.1)."""
    kind, _, name = group.partition(":")
    pool = f"pools/{name}.safetensors"
    return {
        "proxy": [f"proxies/{name}/", pool],
        "catalogue": [f"catalogues/{name}/"],
        "score": [f"scorings/{name}/", pool, f"columns:scores:{name}"],
        "select": [f"columns:{result_columns(name)}", pool],
        "train": [f"trainings/{name}/", pool],
        "evaluate": [f"rankings/{name}.json", pool],
        "finish": [f"training_jobs/{name}/"],
    }.get(kind, [])


def prefixes_of(blob: str) -> list[str]:
    """Return the outputs that a blob may belong to: its name, and every prefix of it that ends in a slash."""
    parts = blob.split("/")
    return [blob, *("/".join(parts[:length]) + "/" for length in range(len(parts) - 1, 0, -1))]


def unit_of(blob: str) -> int | None:
    """Return the unit that wrote a blob, or None: its number is six digits, as in `shard-000012.safetensors`."""
    found = _UNIT.search(blob.rpartition("/")[2])
    return None if found is None else int(found[1])
