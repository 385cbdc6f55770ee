"""Selections that match the mean gradient of validation samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minirec.selection import select_matching
from minirec.specs import ScoreSpec
from minirec.worker import score
from minirec.worker.groups import spec_of_group
from minirec.worker.measured import load_gradients
from minirec.worker.pools import pool_of
from tests.worker.bench import Bench


def stages_of(bench: Bench, job: str) -> list[str]:
    return [event.data["stage"] for event in bench.store.events.read(job) if event.type == "stage"]


def picks_of(bench: Bench, job: str) -> list[int]:
    columns = bench.result(job)
    picked = np.flatnonzero(columns["picked_rank"] >= 0)
    return columns["row"][picked[np.argsort(columns["picked_rank"][picked])]].tolist()  # type: ignore[no-any-return]


def test_the_choice_matches_the_scored_validation_samples(split_bench: Bench) -> None:
    bench = split_bench
    job = bench.create(weights={"gate": {"enabled": False}, "validation_samples": 5})
    bench.hear()
    assert stages_of(bench, job) == [
        "preparing",
        "checking",
        "checking_validation",
        "planning",
        "embedding_catalogue",
        "scoring",
        "scoring_validation",
        "selecting",
    ]
    result = bench.store.jobs.get(job).json("result")
    assert (result["choice"], result["validation_samples"]) == ("matching", 5)
    names = bench.store.jobs.get(job).json("provenance")
    pool, towards = (
        load_gradients(bench.store, names[name]) for name in ("scoring_fingerprint", "validation_scoring_fingerprint")
    )
    _, scored = spec_of_group(bench.store, ScoreSpec, names["scoring_fingerprint"])
    rows = pool_of(bench.store.blobs, scored)
    assert set(picks_of(bench, job)) == set(rows[select_matching(pool, 10, towards=towards).indices].tolist())
    _, of_validation = spec_of_group(bench.store, ScoreSpec, names["validation_scoring_fingerprint"])
    dataset_rows = pool_of(bench.store.blobs, of_validation)
    assert len(dataset_rows) == 5
    assert not set(dataset_rows.tolist()) & set(rows.tolist())


def test_another_way_to_choose_needs_no_model_again(split_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = split_bench
    bench.create()
    bench.hear()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(score, "score_samples", refuse)
    for weights in ({"towards": "pool"}, {"choice": "diverse"}, {"alpha": 1.0}):
        job = bench.create(weights={"gate": {"enabled": False}} | weights)
        bench.hear()
        assert bench.store.jobs.get(job).status == "succeeded"
        assert bench.store.jobs.get(job).json("result")["validation_samples"] == 0
        assert "scoring_validation" not in stages_of(bench, job)


def test_a_dataset_without_validation_samples_is_matched_by_its_pool(bench: Bench) -> None:
    job = bench.create()
    bench.hear()
    result: dict[str, Any] = bench.store.jobs.get(job).json("result")
    assert (result["choice"], result["validation_samples"]) == ("matching", 0)
    assert "checking_validation" not in stages_of(bench, job)


def test_validation_samples_that_are_the_pool_are_not_matched_to_themselves(split_bench: Bench) -> None:
    job = split_bench.create(pool={"split": "valid"}, size=3)
    split_bench.hear()
    assert split_bench.store.jobs.get(job).json("result")["validation_samples"] == 0
