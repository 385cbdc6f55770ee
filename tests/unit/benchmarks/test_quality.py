"""The quality benchmark: intervals, arms, and runs that go on where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.quality.__main__ as quality
from benchmarks.quality.arms import KNOWN, Case, random_beside, within_strata
from benchmarks.quality.intervals import detectable, over_runs
from benchmarks.quality.report import write_report
from benchmarks.quality.runs import Bench, kept
from benchmarks.quality.sets import Parts, divide, draw, find_set, open_set
from benchmarks.quality.study import Study
from minirec.data.dataset import Dataset
from minirec.training.pretrain import Pair, excluded
from tests.builders import tiny_model, with_splits, write_files

STUDY = Study(pool=24, size=6, valid=6, test=6, updates=2, every=1, proxy_updates=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("set")
    samples, items = write_files(folder, samples=120)
    with_splits(samples).rename(folder / "tiny.samples.jsonl.gz")
    items.rename(folder / "tiny.items.jsonl.gz")
    return open_set(str(folder), folder / "checked")


@pytest.fixture(scope="module")
def bench(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    return Bench(STUDY, "tiny", dataset, divide(dataset), tiny_model(folder), folder / "results")


@pytest.fixture(scope="module")
def case(bench: Bench) -> Case:
    return Case(bench, 0)


def test_an_interval_over_runs_is_that_of_students_t() -> None:
    interval = over_runs([1.0, 2.0, 3.0, 4.0, 5.0])
    assert interval.mean == pytest.approx(3)
    # scipy.stats.t.interval(0.95, 4, loc=3, scale=sem) gives these.
    assert (interval.low, interval.high) == pytest.approx((1.0367568, 4.9632432), abs=1e-3)


def test_a_detectable_difference_is_found_four_times_out_of_five() -> None:
    draws = np.random.default_rng(0)
    true = detectable(1.0, 10)
    found = [over_runs(draws.normal(true, 1.0, 10).tolist()).low > 0 for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_an_interval_takes_two_runs() -> None:
    with pytest.raises(ValueError, match="two runs"):
        over_runs([1.0])


@pytest.mark.parametrize(
    "arm", [arm for arm in KNOWN if not arm.startswith("full data") and random_beside(arm) == "random"]
)
def test_every_arm_chooses_its_size_once_and_the_same_again(arm: str, case: Case) -> None:
    chosen = KNOWN[arm](case).tolist()
    assert len(chosen) == len(set(chosen)) == STUDY.size
    assert set(chosen) <= set(range(STUDY.pool))
    assert chosen == KNOWN[arm](case).tolist()


def test_random_is_the_start_of_full_data(case: Case) -> None:
    assert KNOWN["full data"](case)[: STUDY.size].tolist() == KNOWN["random"](case).tolist()


def test_half_of_a_mixed_choice_is_the_choice_itself(case: Case) -> None:
    ours, mixed = (set(KNOWN[arm](case).tolist()) for arm in ("MiniRec", "MiniRec, half random"))
    assert len(ours & mixed) >= STUDY.size // 2


def test_strata_give_equal_shares(case: Case) -> None:
    place = np.arange(STUDY.pool, dtype=np.float64)
    chosen = within_strata(lambda _: -place, lambda _: place, 3)(case)
    assert sorted(chosen.tolist()) == [0, 1, 8, 9, 16, 17]


def test_parts_share_no_sample_and_a_seed_draws_from_them(dataset: Dataset) -> None:
    parts: Parts = divide(dataset)
    rows = np.concatenate([parts.past, parts.reservoir, parts.valid, parts.test])
    assert len(set(rows.tolist())) == len(rows)
    first, second = (draw(parts, seed, pool=24, valid=6, test=6) for seed in (0, 1))
    assert set(first.pool) <= set(parts.reservoir)
    assert first.pool.tolist() != second.pool.tolist()
    assert {dataset.sample(int(row)).split for row in first.test} == {"test"}


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


def test_arms_run_to_a_table_and_a_second_run_trains_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arms = ["full data", "random", "MiniRec"]
    for seed in (0, 1):
        quality.run_seed(bench, seed, arms)
    monkeypatch.setattr(quality, "train_on", None)
    quality.run_seed(bench, 0, arms)

    table = write_report([bench], tmp_path)
    assert "| MiniRec |" in table
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    # A start with one evaluation and three arms with two, of validation and test, under two seeds.
    assert len(lines) == 1 + 2 * 2 * (1 + 3 * 2)


def test_a_setting_has_its_own_results() -> None:
    assert Study().fingerprint() == Study().fingerprint() != Study(ndcg_share=0.2).fingerprint()
