"""The quality benchmark: intervals, arms, and runs that go on where they were stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.quality.__main__ as quality
from benchmarks.quality import runs
from benchmarks.quality.arms import ARMS, FREE, KNOWN, STRATA
from benchmarks.quality.data import Parts, divide, find_set, open_set
from benchmarks.quality.intervals import Bootstrap, ndcg_of
from benchmarks.quality.pretrain import Pair, excluded
from benchmarks.quality.report import write_report
from benchmarks.quality.runs import Bench, kept
from benchmarks.quality.study import Study
from minirec.data.dataset import Dataset
from minirec.selection import curriculum
from tests.builders import tiny_model, with_splits, write_files
from worker.measured import Measured

PAPER = "MiniRec paper profile"
UNPROXIED = "MiniRec without L, without proxy"
HALF = "MiniRec without L, half scored without proxy"


def measured(n: int = 60, *, seed: int = 0) -> Measured:
    """A pool whose first tenth is never solved, with vectors of growing length."""
    draw = np.random.default_rng(seed)
    rewards = draw.uniform(0.05, 0.9, (n, 4))
    rewards[: n // 10] = 0.0
    vectors = draw.standard_normal((n, 8))
    vectors *= (1 + np.arange(n))[:, None] / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Measured(
        rows=np.arange(n),
        rewards=rewards,
        hits=rewards > 0,
        signal=np.zeros(n, np.int8),
        vectors=vectors.astype(np.float32),
        embeddings=draw.standard_normal((n, 8)).astype(np.float32),
        target_probability=draw.random((n, 4)),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("set")
    samples, items = write_files(folder, samples=120)
    with_splits(samples).rename(folder / "tiny.samples.jsonl.gz")
    items.rename(folder / "tiny.items.jsonl.gz")
    return open_set(str(folder), folder / "checked")


@pytest.fixture
def bench(dataset: Dataset, tmp_path: Path) -> Bench:
    study = Study("tiny", pool=24, valid=6, test=6, epochs=1, proxy_updates=1, new_tokens=3, budget=0.25)
    parts = divide(dataset, pool=study.pool, valid=study.valid, test=study.test)
    return Bench(study, dataset, parts, tiny_model(tmp_path), tmp_path / "results", lambda _: None)


def test_a_bootstrap_of_equal_arms_says_that_they_are_equal() -> None:
    values = np.random.default_rng(0).random((5, 40))
    boot = Bootstrap(5, 40)
    assert boot.difference(values, values).low == boot.difference(values, values).high == 0
    assert boot.ratio(2 * values, values).low == pytest.approx(2)


def test_a_bootstrap_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.tile(np.random.default_rng(1).standard_normal(400), (3, 1))
    interval = Bootstrap(3, 400).mean(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.15)


def test_seeds_that_differ_widen_the_interval() -> None:
    apart = np.array([[0.0] * 50, [1.0] * 50])
    interval = Bootstrap(2, 50).mean(apart)
    assert (interval.low, interval.high) == (0, 1)


def test_ndcg_counts_the_first_k_ranks() -> None:
    assert ndcg_of([1, 3, 10, 11], 10).tolist() == pytest.approx([1, 0.5, 1 / np.log2(11), 0])


@pytest.mark.parametrize("arm", [arm for arm in KNOWN if arm not in FREE])
def test_every_arm_chooses_its_budget_once(arm: str) -> None:
    chosen = KNOWN[arm](measured(), 20, 3)
    assert sorted(set(chosen.tolist())) == sorted(chosen.tolist())
    assert len(chosen) == 20
    assert chosen.tolist() == KNOWN[arm](measured(), 20, 3).tolist()


def test_full_data_is_everything_in_another_order_for_another_seed() -> None:
    first, second = (ARMS["full data"](measured(), 5, seed) for seed in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(60))
    assert first.tolist() != second.tolist()


def test_minirec_leaves_out_what_is_never_solved_and_without_the_gate_does_not() -> None:
    unsolved = replace(measured(), rewards=np.where(np.arange(60)[:, None] < 6, 0.0, 0.001 + measured().rewards))
    assert min(ARMS["MiniRec"](unsolved, 54, 0)) == 6
    assert set(range(6)) & set(ARMS["MiniRec without gate"](unsolved, 54, 0).tolist())


def test_only_the_order_differs_without_the_curriculum() -> None:
    ordered, shuffled = (ARMS[arm](measured(), 20, 3).tolist() for arm in ("MiniRec", "MiniRec without curriculum"))
    assert sorted(ordered) == sorted(shuffled)
    means = measured().rewards.mean(1)
    assert ordered == curriculum(means, ordered, groups=1, seed=3).tolist()
    assert ordered != shuffled


def test_effort_with_coverage_spreads_its_picks_over_the_whole_range_of_gradients() -> None:
    chosen = ARMS["effort + coverage"](measured(), STRATA, 0)
    # Lengths grow evenly, so every stratum holds as many samples and gives one.
    assert sorted(chosen // (60 // STRATA)) == list(range(STRATA))


def test_parts_share_no_sample(dataset: Dataset) -> None:
    parts = divide(dataset, pool=24, valid=6, test=6)
    rows = np.concatenate([parts.past, parts.pool, parts.valid, parts.test])
    assert len(set(rows.tolist())) == len(rows)
    assert len(parts.pool) == 24


def test_a_folder_without_a_set_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="samples.jsonl.gz"):
        find_set(tmp_path)


def test_targets_of_the_history_do_not_count_as_wrong_in_pre_training() -> None:
    def pair(target: int, *history: int) -> Pair:
        return Pair(None, None, target, frozenset(history))  # type: ignore[arg-type]

    assert excluded([pair(0, 1), pair(1), pair(0)]).tolist() == [
        [False, True, True],
        [False, False, False],
        [True, False, False],
    ]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> dict[str, Any]:
        calls.append(1)
        return {"done": len(calls)}

    assert kept(tmp_path / "deep" / "run.json", make) == kept(tmp_path / "deep" / "run.json", make) == {"done": 1}


@pytest.mark.slow
def test_arms_run_to_a_table_and_a_second_run_trains_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = ("full data", "random", "MiniRec", PAPER, HALF, UNPROXIED)
    results = {arm: [quality.run_arm(bench, arm, 0) | {"seed": 0}] for arm in arms}
    by_arm = {arm: found[0] for arm, found in results.items()}
    group = bench.study.rollouts(0).group_size
    assert by_arm["random"]["cost"]["rollouts"] == 6 * group
    assert by_arm["full data"]["cost"]["rollouts"] == 24 * group
    assert by_arm["MiniRec"]["cost"]["rollouts"] == (8 + 24 + 6) * group
    assert by_arm[PAPER]["cost"]["rollouts"] == (8 + 24 + 6) * group + 24
    assert by_arm[HALF]["cost"]["rollouts"] == (12 + 6) * group
    assert by_arm[UNPROXIED]["cost"]["rollouts"] == (24 + 6) * group
    assert len(by_arm["MiniRec"]["picks"]) == 6

    out = bench.folder / "report"
    table = write_report(runs.start(bench), results, out)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["no training", *arms]
    assert {path.name for path in out.iterdir()} == {"table.md", "runs.csv", "curves.json", "costs.png", "curves.png"}

    monkeypatch.setattr(quality, "train_on", None)
    assert quality.run_arm(bench, "MiniRec", 0) | {"seed": 0} == results["MiniRec"][0]


@pytest.mark.slow
def test_another_seed_is_another_run(bench: Bench) -> None:
    first, second = (quality.run_arm(bench, "random", seed) for seed in (0, 1))
    assert first["picks"] != second["picks"]


@pytest.mark.slow
def test_only_the_scored_part_of_the_pool_can_be_chosen_from(bench: Bench) -> None:
    whole, _ = runs.measure(bench, 0, runs.Scoring())
    half, cost = runs.measure(bench, 0, runs.Scoring(part=0.5))
    assert cost.rollouts == (8 + 12) * bench.study.rollouts(0).group_size
    assert len(half.rows) == 12
    at = np.searchsorted(whole.rows, half.rows)
    assert whole.rows[at].tolist() == half.rows.tolist()
    for name in ("rewards", "hits", "vectors", "embeddings"):
        of_whole, of_half = (np.asarray(found, float) for found in (getattr(whole, name)[at], getattr(half, name)))
        np.testing.assert_allclose(of_half, of_whole, rtol=1e-4, atol=1e-5)


def test_arms_are_validated_after_as_many_epochs_of_their_own() -> None:
    study = Study("movielens", epochs_between=2)
    assert (study.every(1000), study.every(100)) == (250, 26)


def test_a_setting_has_its_own_results() -> None:
    study = Study("movielens")
    assert study.fingerprint("budget") == replace(study, budget=0.2).fingerprint("budget")
    assert study.fingerprint("budget") != replace(study, epochs=3).fingerprint("budget")


def test_the_parts_are_those_of_the_dataset(dataset: Dataset) -> None:
    parts: Parts = divide(dataset, pool=24, valid=99, test=99)
    assert {dataset.sample(int(row)).split for row in parts.valid} == {"valid"}
    assert {dataset.sample(int(row)).split for row in parts.test} == {"test"}
