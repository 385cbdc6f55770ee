"""Which samples of a dataset may be selected."""

from __future__ import annotations

from collections.abc import Mapping

WITHOUT_SPLIT = "none"
"""Label of samples that are in no split."""


def pool_label(splits: Mapping[str, int], split: str | None) -> str:
    """Return the label of the samples that may be selected.

    splits: samples per split, `none` for those without one. The split that was asked for; else `train` where there are
    such samples; else `none`. So validation and test samples are in a pool only when they were asked for by name.
    """
    if split is not None:
        return split
    return "train" if splits.get("train") else WITHOUT_SPLIT


def pool_size(splits: Mapping[str, int], split: str | None) -> int:
    """Return how many samples may be selected."""
    return splits.get(pool_label(splits, split), 0)


def empty_pool(splits: Mapping[str, int], split: str | None) -> str:
    """Say why no sample may be selected, and what there is."""
    counts = counted(splits)
    if split is not None:
        return f"has no samples in {split!r} ({counts})"
    return (
        f"has neither `train` samples nor samples without a split ({counts}); validation and test samples are "
        f"selected only where pool.split names them"
    )


def counted(splits: Mapping[str, int]) -> str:
    """Return how many samples each split has, for a message: `test: 5, without a split: 40`."""
    names = {WITHOUT_SPLIT: "without a split"}
    return ", ".join(f"{names.get(name, name)}: {count}" for name, count in sorted(splits.items()))
