"""What a finished selection keeps of its embeddings for people who look at it: a map, and what is near what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.store.blobs import Arrays

BLOCK = 4_096
"""Rows that are converted at once: what fits into the cache is done in half the time."""


def view_arrays(embeddings: npt.NDArray[Any], picked: npt.NDArray[np.int64]) -> Arrays:
    """Return `map` (N, 2) and `explained` (2,), and `picked` (k, d) in float16, all of unit embeddings (N, d).

    The map shows the two directions of largest variance (PCA, from the covariance in float64). `explained` is their
    share of all variance. Rows that have no direction lie in the middle.
    """
    n, d = embeddings.shape
    total, products = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, BLOCK):
        block = unit_rows(embeddings[start : start + BLOCK])
        total += block.sum(axis=0)
        products += block.T @ block
    mean = total / n
    values, axes = np.linalg.eigh(products / n - np.outer(mean, mean))
    axes = axes[:, ::-1][:, :2]
    # The sign of a direction is arbitrary: the same pool always gets the same map.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    places = np.zeros((n, 2), np.float32)
    for start in range(0, n, BLOCK):
        block = unit_rows(embeddings[start : start + BLOCK])
        places[start : start + BLOCK, : axes.shape[1]] = (block - mean) @ axes
    variance = float(values.clip(0).sum())
    explained = np.zeros(2)
    explained[: axes.shape[1]] = values[::-1][:2].clip(0) / variance if variance > 0 else 0.0
    return {"map": places, "explained": explained, "picked": unit_rows(embeddings[picked]).astype(np.float16)}


def unit_rows(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return rows of length 1, those of zeros as they are."""
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    units: npt.NDArray[np.float64] = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return units
