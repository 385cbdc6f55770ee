"""The proxy: trained on a random part of the pool."""

from __future__ import annotations

from minirec.training.proxy import draw_proxy_rows


def test_rows_are_a_seeded_random_part_of_the_pool() -> None:
    pool = [10 * row for row in range(100)]
    rows = draw_proxy_rows(pool, 20, seed=3).tolist()
    assert len(set(rows)) == 20
    assert set(rows) <= set(pool)
    assert rows != sorted(rows)
    assert rows == draw_proxy_rows(pool, 20, seed=3).tolist()
    assert rows != draw_proxy_rows(pool, 20, seed=4).tolist()


def test_a_pool_smaller_than_asked_for_is_taken_whole() -> None:
    assert sorted(draw_proxy_rows([4, 8, 2], 256, seed=0).tolist()) == [2, 4, 8]
