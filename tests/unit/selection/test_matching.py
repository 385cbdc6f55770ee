"""Matching: the choice whose mean gradient comes nearest to the wanted one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from minirec.selection import Gradients, RowError, select, select_matching
from minirec.selection.matching import PASSES

Matrix = npt.NDArray[np.float64]


def draw(n: int, d: int = 6, e: int = 5, seed: int = 0) -> Gradients:
    random = np.random.default_rng(seed)
    return Gradients(random.standard_normal((n, d)), random.standard_normal((n, e)))


def outer_products(gradients: Gradients) -> Matrix:
    """(N, d * e): what the choice is about, written out."""
    vectors, embeddings = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in gradients)
    return np.asarray(np.einsum("ni,nj->nij", vectors, embeddings).reshape(len(vectors), -1))


def by_definition(rows: Matrix, wanted: Matrix, k: int) -> list[int]:
    """Take, k times, the row that brings the mean of the choice nearest to the wanted mean."""
    chosen: list[int] = []
    for _ in range(k):
        left = [row for row in range(len(rows)) if row not in chosen]
        means = np.array([rows[[*chosen, row]].mean(axis=0) for row in left])
        # Against the wanted mean, however long it is: unit rows differ in direction only.
        chosen.append(left[int(np.argmin(((means - wanted) ** 2).sum(axis=1)))])
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_each_choice_brings_the_mean_nearest_to_the_wanted_one(seed: int) -> None:
    pool, other = draw(40, seed=seed), draw(15, seed=seed + 100)
    rows = outer_products(pool)
    assert select_matching(pool, 12).indices.tolist() == by_definition(rows, rows.mean(axis=0), 12)
    wanted = outer_products(other).mean(axis=0)
    assert select_matching(pool, 12, towards=other).indices.tolist() == by_definition(rows, wanted, 12)


def test_agreement_is_the_inner_product_with_the_wanted_mean() -> None:
    pool, other = draw(30), draw(8, seed=1)
    found = select_matching(pool, 3, towards=other).agreement
    assert found == pytest.approx(outer_products(pool) @ outer_products(other).mean(axis=0), abs=1e-6)


def test_without_embeddings_the_gradients_alone_are_matched() -> None:
    vectors = draw(30).vectors
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert select_matching(Gradients(vectors), 8).indices.tolist() == by_definition(rows, rows.mean(axis=0), 8)


def test_many_choices_come_as_near_as_those_made_one_by_one() -> None:
    pool = draw(3000, 8, 8)
    rows = outer_products(pool)
    k = 3 * PASSES
    few_readings = select_matching(pool, k).indices
    assert len(set(few_readings.tolist())) == k
    exact, wanted = by_gains(rows, k), rows.mean(axis=0)
    at_random = np.random.default_rng(0).permutation(3000)[:k]
    distances = [
        float(np.linalg.norm(rows[chosen].mean(axis=0) - wanted)) for chosen in (few_readings, exact, at_random)
    ]
    assert distances[0] < 0.1 * distances[2]
    assert distances[0] < 2 * distances[1]


def by_gains(rows: Matrix, k: int) -> list[int]:
    """Return the choice by definition, in time for thousands of rows."""
    wanted, total, chosen = rows @ rows.mean(axis=0), np.zeros(len(rows)), []
    free = np.ones(len(rows), dtype=bool)
    for step in range(k):
        best = int(np.where(free, wanted - total / (step + 1), -np.inf).argmax())
        chosen.append(best)
        free[best] = False
        total += rows @ rows[best]
    return chosen


@pytest.mark.parametrize("k", [10, 3 * PASSES])
def test_gated_rows_come_last_and_those_without_a_gradient_last_of_their_kind(k: int) -> None:
    pool = draw(600)
    pool.vectors[:100] = 0
    eligible = np.arange(600) % 2 == 0
    chosen = select_matching(pool, 350, eligible=eligible).indices
    assert eligible[chosen[:300]].all()
    assert not eligible[chosen[300:]].any()
    assert (chosen[250:300] < 100).all()
    assert (chosen[:250] >= 100).all()
    assert len(set(select_matching(pool, k, eligible=eligible).indices.tolist())) == k


@pytest.mark.parametrize("k", [12, 2 * PASSES + 4])
def test_every_stratum_has_its_share(k: int) -> None:
    pool = draw(520)
    strata = np.array(["a", "b", "b", "c"] * 130)
    chosen = select_matching(pool, k, strata=strata).indices
    names, counts = np.unique(strata[chosen], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"a": k // 4, "b": k // 2, "c": k // 4}


def test_of_equal_rows_the_first_in_the_order_of_ties_is_chosen() -> None:
    pool = draw(20)
    doubled = Gradients(*(np.concatenate([part, part]) for part in pool))
    order = np.concatenate([np.arange(20) + 20, np.arange(20)])
    first = select_matching(pool, 5).indices
    assert select_matching(doubled, 1, tie_order=order).indices.tolist() == [int(first[0]) + 20]


def test_the_size_of_a_gradient_makes_no_difference() -> None:
    pool = draw(50)
    longer = Gradients(pool.vectors * np.logspace(-30, 30, 50)[:, None], pool.embeddings * 7)
    assert select_matching(longer, 9).indices.tolist() == select_matching(pool, 9).indices.tolist()


@pytest.mark.parametrize(
    ("part", "value", "fault"), [(0, np.nan, "NaN or infinity"), (1, np.inf, "NaN or infinity"), (1, 0.0, "all zeros")]
)
def test_rows_that_mean_nothing_are_named(part: int, value: float, fault: str) -> None:
    pool = draw(10)
    pool[part][7] = value
    with pytest.raises(RowError, match=rf"row 7 .*{fault}"):
        select_matching(pool, 2)


def test_embeddings_are_on_both_sides_or_on_neither() -> None:
    with pytest.raises(ValueError, match="on both sides"):
        select_matching(draw(10), 2, towards=Gradients(draw(4).vectors))


def test_a_selection_matches_unless_learnability_is_to_count() -> None:
    pool, rewards = draw(60), np.random.default_rng(1).uniform(0.1, 0.9, (60, 4))
    signals = {"rewards": rewards, "vectors": pool.vectors, "embeddings": pool.embeddings, "k": 9}
    chosen = select(**signals)
    assert chosen.choice == "matching"
    assert chosen.distances is None
    assert set(chosen.indices.tolist()) == set(select_matching(pool, 9).indices.tolist())
    for settings in ({"alpha": 1.0}, {"vector": "gradient"}, {"profile": "paper"}, {"choice": "diverse"}):
        assert select(**{**signals, **settings}).choice == "diverse"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choice": "matching", "vectors": None}, "needs vectors"),
        ({"choice": "matching", "alpha": 1.0}, "leave alpha out"),
        ({"choice": "diverse", "towards": draw(3)}, "leave it out beside 'diverse'"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings: dict[str, object], message: str) -> None:
    pool = draw(12)
    signals = {"rewards": np.full((12, 2), 0.5), "vectors": pool.vectors, "embeddings": pool.embeddings, "k": 3}
    with pytest.raises(ValueError, match=message):
        select(**{**signals, **settings})
