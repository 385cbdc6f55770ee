"""The diverse choice is the plain definition's, however lazily it is made."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minirec.selection import learnability, select_diverse
from minirec.selection.strata import proportional_quotas, stratum_codes

Array = np.ndarray[Any, Any]


def plain_choice(
    embeddings: Array,
    scores: Array,
    k: int,
    eligible: Array | None = None,
    *,
    tie_order: Array | None = None,
    quotas: dict[bool, Array] | None = None,
    strata: Array | None = None,
) -> tuple[list[int], Array]:
    """The definition in float64, evaluated for every row at every step."""
    places = np.arange(len(embeddings)) if tie_order is None else tie_order
    units = np.asarray(embeddings, dtype=np.float64)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    allowed = np.ones(len(units), dtype=bool) if eligible is None else eligible
    distance = np.full(len(units), np.inf)
    free = np.ones(len(units), dtype=bool)
    chosen: list[int] = []
    distances = []
    for _ in range(k):
        is_open = bool((free & allowed).any())
        waiting = free & (allowed if is_open else ~allowed)
        if quotas is not None and strata is not None:
            waiting &= quotas[is_open][strata] > 0
        keys = np.where(waiting, np.minimum(distance, 2) * scores, -1)
        best = int(keys.argmax())
        tied = waiting
        if not chosen:
            tied = waiting & (scores == scores[waiting].max())
        elif keys[best] > 1e-12:
            is_equal = waiting & (scores == scores[best]) & (1 - units @ units[best] < 1e-14)
            is_equal &= distance >= distance[best] - 1e-14
            tied = (keys >= keys[best] * (1 - 1e-12)) | is_equal
        rows = np.flatnonzero(tied)
        winner = int(rows[np.lexsort((places[rows], -scores[rows]))[0]])
        if quotas is not None and strata is not None:
            quotas[is_open][strata[winner]] -= 1
        distances.append(distance[winner])
        chosen.append(winner)
        free[winner] = False
        distance = np.minimum(distance, 1 - units @ units[winner])
        distance[distance < 1e-14] = 0  # rounding
    return chosen, np.array(distances)


def assert_plain(embeddings: Array, scores: Array, k: int, eligible: Array | None = None) -> None:
    choice = select_diverse(embeddings, scores, k, eligible=eligible)
    indices, distances = plain_choice(embeddings, scores, k, eligible)
    assert choice.indices.dtype == np.int64
    assert choice.indices.tolist() == indices
    assert np.isinf(choice.distances[0])
    assert np.abs(choice.distances[1:] - distances[1:]).max(initial=0) < 1e-14


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools, chunks and blocks so small that a few dozen rows take every path of a large choice."""
    monkeypatch.setattr("minirec.selection.lazy_greedy.POOL", 8)
    monkeypatch.setattr("minirec.selection.lazy_greedy.BATCH", 12)
    monkeypatch.setattr("minirec.selection.lazy_greedy.SHORTLIST", 16)
    monkeypatch.setattr("minirec.selection.lazy_greedy.SAMPLE", 32)
    monkeypatch.setattr("minirec.selection.lazy_greedy.CENTRE_BLOCK", 4)
    monkeypatch.setattr("minirec.selection.lazy_greedy.CHUNK_BYTES", 1)
    monkeypatch.setattr("minirec.selection.rows.BLOCK_BYTES", 400)


def spread(draw: np.random.Generator, n: int, d: int) -> Array:
    return draw.standard_normal((n, d))


def clustered(draw: np.random.Generator, n: int, d: int) -> Array:
    return spread(draw, 4, d)[draw.integers(0, 4, n)] + 0.05 * spread(draw, n, d)


def duplicated(draw: np.random.Generator, n: int, d: int) -> Array:
    return spread(draw, max(1, n // 4), d)[draw.integers(0, max(1, n // 4), n)]


def near_duplicated(draw: np.random.Generator, n: int, d: int) -> Array:
    return duplicated(draw, n, d) + 1e-3 * spread(draw, n, d)


def signs(draw: np.random.Generator, n: int, d: int) -> Array:
    """Every distance is one of a few: ties everywhere."""
    return draw.choice([-1.0, 1.0], (n, d))


def axes(draw: np.random.Generator, n: int, d: int) -> Array:
    """Rows are equal or at right angles."""
    return np.eye(max(1, 3 * n // 4))[draw.integers(0, max(1, 3 * n // 4), n)]


def bunched(draw: np.random.Generator, n: int, d: int) -> Array:
    """All rows are close to one another, and their products add up numbers of one sign."""
    return 1 + 0.1 * spread(draw, n, d)


def one_point(draw: np.random.Generator, n: int, d: int) -> Array:
    return np.tile(spread(draw, 1, d), (n, 1)) * draw.uniform(0.5, 2, (n, 1))


SHAPES = [spread, clustered, duplicated, near_duplicated, signs, axes, bunched, one_point]


def constant(draw: np.random.Generator, n: int) -> Array:
    return np.ones(n)


def uniform(draw: np.random.Generator, n: int) -> Array:
    return draw.random(n)


def few_values(draw: np.random.Generator, n: int) -> Array:
    return draw.integers(0, 3, n) / 2


def wide(draw: np.random.Generator, n: int) -> Array:
    return 10.0 ** draw.integers(-6, 7, n)


def all_zero(draw: np.random.Generator, n: int) -> Array:
    return np.zeros(n)


SCORES = [constant, uniform, few_values, wide, all_zero]


@settings(deadline=None, max_examples=300)
@given(
    shape=st.sampled_from(SHAPES),
    score=st.sampled_from(SCORES),
    n=st.integers(1, 90),
    d=st.integers(1, 12),
    share=st.floats(0, 1),
    open_share=st.sampled_from([1.0, 0.5, 0.1, 0.0]),
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_definition(
    shape: Any, score: Any, n: int, d: int, share: float, open_share: float, dtype: Any, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    embeddings = shape(draw, n, d).astype(dtype)
    scores = score(draw, n)
    assert_plain(embeddings, scores, max(1, round(share * n)), draw.random(n) < open_share)


@settings(deadline=None, max_examples=200)
@given(
    shape=st.sampled_from(SHAPES),
    score=st.sampled_from(SCORES),
    n=st.integers(1, 90),
    n_strata=st.integers(1, 30),
    share=st.floats(0, 1),
    open_share=st.sampled_from([1.0, 0.5, 0.1, 0.0]),
    seed=st.integers(0, 2**32 - 1),
)
@example(duplicated, constant, 21, 24, 0.18, 0.0, 1711588378).via("the first of equal rows was of a full stratum")
def test_equals_the_definition_within_strata_and_with_ties_in_another_order(
    shape: Any, score: Any, n: int, n_strata: int, share: float, open_share: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    embeddings, scores = shape(draw, n, 5), score(draw, n)
    order, is_open = draw.permutation(n), draw.random(n) < open_share
    strata = stratum_codes(draw.integers(0, n_strata, n), n)
    k = max(1, round(share * n))
    first = min(k, int(is_open.sum()))
    quotas = {}
    for among, count in ((is_open, first), (~is_open, k - first)):
        quotas[bool(among is is_open)] = (
            proportional_quotas(strata, among, count, scores, order) if count else np.zeros(n_strata, dtype=int)
        )
        members = np.bincount(strata[among], minlength=quotas[bool(among is is_open)].size)
        exact = members * count / max(1, among.sum())
        assert quotas[bool(among is is_open)].sum() == count
        assert (np.abs(quotas[bool(among is is_open)] - exact) < 1).all()
        assert (quotas[bool(among is is_open)] <= np.maximum(members, 0)).all() or not count
    choice = select_diverse(embeddings, scores, k, eligible=is_open, strata=strata, tie_order=order)
    indices, _ = plain_choice(embeddings, scores, k, is_open, tie_order=order, quotas={**quotas}, strata=strata)
    assert choice.indices.tolist() == indices


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("score", SCORES)
def test_equals_the_definition_with_pools_of_full_size(shape: Any, score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    draw = np.random.default_rng(1)
    assert_plain(shape(draw, 700, 24).astype(np.float32), score(draw, 700), 400)


def test_the_first_choice_is_the_published_one(
    golden: Path, golden_rewards: Array, golden_representativeness: Array
) -> None:
    scores = learnability(golden_rewards) + golden_representativeness
    embeddings = np.random.default_rng(0).standard_normal((scores.size, 4))
    assert select_diverse(embeddings, scores, 1).indices.tolist() == np.load(golden / "selected_256.npy")[:1].tolist()


def test_takes_little_memory_beside_the_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    draw = np.random.default_rng(0)
    embeddings = draw.standard_normal((40_000, 512), dtype=np.float32)
    scores = draw.random(40_000)
    tracemalloc.start()
    select_diverse(embeddings, scores, 400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < embeddings.nbytes / 2


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_rows_length_does_not_matter(scale: float) -> None:
    draw = np.random.default_rng(0)
    embeddings, scores = spread(draw, 60, 8), draw.random(60)
    scaled = select_diverse(embeddings * scale * draw.uniform(0.1, 10, (60, 1)), scores, 30)
    assert scaled.indices.tolist() == select_diverse(embeddings, scores, 30).indices.tolist()


def test_a_smaller_choice_is_the_beginning_of_a_larger_one() -> None:
    draw = np.random.default_rng(0)
    embeddings, scores = spread(draw, 80, 8), draw.random(80)
    large = select_diverse(embeddings, scores, 80).indices
    for k in (1, 7, 33):
        assert select_diverse(embeddings, scores, k).indices.tolist() == large[:k].tolist()


def test_reads_memory_mapped_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    embeddings, scores = spread(draw, 70, 6).astype(np.float16), draw.random(70)
    np.save(tmp_path / "embeddings.npy", embeddings)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    assert select_diverse(mapped, scores, 20).indices.tolist() == plain_choice(embeddings, scores, 20)[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_reads_torch_tensors(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    tensor = torch.from_numpy(spread(draw, 70, 6)).to(getattr(torch, dtype))
    scores = draw.random(70)
    expected, _ = plain_choice(tensor.double().numpy(), scores, 20)
    assert select_diverse(tensor, scores, 20).indices.tolist() == expected
    transposed = tensor.T.contiguous().T
    assert select_diverse(transposed, scores, 20).indices.tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 41, 69])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_names_the_embedding_that_is_not_finite(bad: float, row: int, dtype: Any) -> None:
    draw = np.random.default_rng(0)
    embeddings = spread(draw, 70, 6).astype(dtype)
    embeddings[row, 3] = bad
    with pytest.raises(ValueError, match=f"embeddings: row {row} has NaN or infinity"):
        select_diverse(embeddings, np.arange(70.0)[::-1], 5)


@pytest.mark.parametrize("row", [0, 5])
def test_names_the_row_without_a_direction(row: int) -> None:
    embeddings = np.ones((6, 3))
    embeddings[row] = 0
    with pytest.raises(ValueError, match=f"embeddings: row {row} is all zeros"):
        select_diverse(embeddings, np.ones(6), 2)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e300])
def test_names_the_row_of_an_absurd_length(scale: float) -> None:
    embeddings = np.ones((6, 3))
    embeddings[4] *= scale
    with pytest.raises(ValueError, match="embeddings: row 4 has a norm outside"):
        select_diverse(embeddings, np.ones(6), 2)


@pytest.mark.parametrize(
    ("embeddings", "scores", "k", "eligible", "message"),
    [
        (np.eye(3), [1, 1, 1], 4, None, "cannot select 4 of 3"),
        (np.eye(3), [1, 1, 1], 0, None, "cannot select 0 of 3"),
        (np.eye(3), [1, 1], 1, None, "3 embeddings and 2 scores"),
        (np.eye(3), [1, -0.5, 1], 1, None, "row 1 is -0.5; scores must not be negative"),
        (np.eye(3), [1, 1, np.nan], 1, None, "scores: row 2 has NaN or infinity"),
        (np.eye(3), [1, 1, 1], 1, [True, False], "eligible must be 3 booleans"),
        (np.eye(3), [1, 1, 1], 1, [0, 1, 2], "eligible must be 3 booleans"),
        (np.ones(3), [1, 1, 1], 1, None, "embeddings must have shape"),
        (np.eye(3, dtype=int), [1, 1, 1], 1, None, "floating-point"),
    ],
)
def test_refuses_with_the_reason(embeddings: Array, scores: Any, k: int, eligible: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_diverse(embeddings, scores, k, eligible=eligible)
