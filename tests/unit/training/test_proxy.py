"""The proxy: a few updates on a random part of the pool."""

from __future__ import annotations

from pathlib import Path

from api_schemas.selections import RolloutSettings
from api_schemas.training import ProxyGrpoSettings, ProxySettings
from minirec.data.dataset import Dataset
from minirec.policy.policy import Policy
from minirec.training.proxy import draw_proxy_rows, train_proxy


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


def test_the_proxy_trains_for_as_many_updates_as_asked_however_few_the_samples(
    policy: Policy, dataset: Dataset, rollouts: RolloutSettings, tmp_path: Path
) -> None:
    proxy = ProxySettings(samples=4, updates=5, grpo=ProxyGrpoSettings(batch_size=2))
    result = train_proxy(policy, dataset=dataset, pool=range(7), rollouts=rollouts, proxy=proxy, out=tmp_path)
    assert [each.epoch for each in result.metrics] == [1, 1, 2, 2, 3]
    assert (result.adapter / "adapter_model.safetensors").is_file()
