"""The map of a pool is the PCA of its unit embeddings, and the picks' embeddings are kept in their order."""

from __future__ import annotations

import numpy as np
import pytest

from minirec.worker import embedding_map
from minirec.worker.embedding_map import view_arrays


@pytest.mark.parametrize("block", [7, 65_536])
def test_the_map_is_a_pca(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(embedding_map, "BLOCK", block)
    rows = np.random.default_rng(0).standard_normal((40, 6)) * [9, 3, 1, 1, 1, 1]
    view = view_arrays(rows.astype(np.float32), np.array([4, 0]))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    _, lengths, axes = np.linalg.svd(units - units.mean(axis=0))
    expected = (units - units.mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(view["map"]), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(view["explained"], lengths[:2] ** 2 / (lengths**2).sum(), atol=1e-6)
    np.testing.assert_allclose(view["picked"], units[[4, 0]], atol=1e-3)


@pytest.mark.parametrize("rows", [np.zeros((3, 4)), np.ones((1, 4)), np.ones((3, 1))])
def test_pools_without_variance_lie_in_one_place(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    view = view_arrays(rows, np.array([0]))
    assert view["map"].shape == (len(rows), 2)
    assert np.abs(view["map"]).max() < 1e-6
    assert np.isfinite(view["explained"]).all()
