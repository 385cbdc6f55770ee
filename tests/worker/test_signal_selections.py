"""Selections by uploaded measurements: what is chosen, and what a person is told about it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from minirec.api_schemas import SelectionCreate, Signals
from minirec.api_schemas.baselines import BASELINES
from minirec.api_schemas.selections import GATE_VERDICTS, SIGNALS
from minirec.selection import NO_SPREAD, OPEN, TOO_EASY, TOO_HARD, baselines, select
from minirec.store.names import signals_blob
from minirec.worker.measured import Measured
from minirec.worker.select import choose
from tests.worker.bench import Bench

N = 48
"""Samples of the bench's dataset."""


def pass_rates(n: int = N, rollouts: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (n, rollouts)).astype(np.float64)


def upload(bench: Bench, **arrays: np.ndarray) -> None:
    """Put measurements where the service puts those that were uploaded."""
    given = {"rows": np.arange(len(arrays["rewards"]))} | arrays
    bench.store.blobs.put_bytes(signals_blob("uploaded"), save(given))
    dataset = bench.store.datasets.get(bench.dataset_id)
    sizes = {name: given[name].shape[1] if name in given else None for name in ("vectors", "embeddings")}
    signals = Signals(
        dataset_id=dataset.id,
        created_at=0,
        content_hash="uploaded",
        dataset_content_hash=dataset.content_hash,
        n_samples=len(given["rows"]),
        rollouts=given["rewards"].shape[1],
        has_hits="hits" in given,
        vector_size=sizes["vectors"],
        embedding_size=sizes["embeddings"],
    )
    bench.store.signals.put(signals)


def selected(bench: Bench, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Select by what was uploaded; the short result and the columns."""
    body = {"model": None, "signals": "uploaded", "rollouts": {}, "weights": {}} | settings
    job = bench.create(**body)
    bench.hear()
    columns = bench.result(job)
    return bench.store.jobs.get(job).json("result"), columns


def test_ties_among_pass_rates_are_said_and_do_not_follow_the_file(bench: Bench) -> None:
    upload(bench, rewards=np.tile([0.0, 1.0], (N, 1)))
    result, columns = selected(bench)
    assert "48 samples tie at the cut, and 10 of them were chosen at random (seed 42)" in result["warnings"][0]
    first = np.flatnonzero(columns["picked_rank"] >= 0)
    assert first.tolist() != list(range(10))
    _, again = selected(bench, curriculum={"seed": 7})
    assert np.flatnonzero(again["picked_rank"] >= 0).tolist() != first.tolist()


def test_a_choice_is_spread_over_users(bench: Bench) -> None:
    upload(bench, rewards=pass_rates())
    _, columns = selected(bench, stratify_by="user_id", size=12, weights={"gate": {"enabled": False}})
    users = np.arange(N) % 7
    counts = np.bincount(users[columns["picked_rank"] >= 0], minlength=7)
    assert (np.abs(counts - 12 * np.bincount(users) / N) < 1).all()


def test_samples_without_uploaded_rewards_are_counted(bench: Bench) -> None:
    upload(bench, rewards=pass_rates(40), rows=np.arange(8, 48))
    result, columns = selected(bench)
    assert (result["pool_size"], result["left_out"]) == (40, 8)
    assert any("8 samples of the pool have no uploaded rewards" in text for text in result["warnings"])
    assert columns["row"].tolist() == list(range(8, 48))


def test_settings_without_effect_are_named(bench: Bench) -> None:
    upload(bench, rewards=pass_rates())
    settings = {"rollouts": {"group_size": 8, "window": 3}, "pool": {"max_samples": 500, "seed": 3}}
    result, _ = selected(bench, **settings, weights={"vector": "hvp"})
    (unused,) = [text for text in result["warnings"] if "no effect" in text]
    assert "rollouts.group_size, weights.vector, pool.seed" in unused
    assert any("pool.max_samples is 500, and there are 48 samples" in text for text in result["warnings"])
    result, _ = selected(bench, profile="paper", weights={"gate": {"min_spread": 0.5}})
    assert any("weights.gate.min_spread (profile paper has no gate)" in text for text in result["warnings"])


def test_nothing_is_said_where_all_is_well(bench: Bench) -> None:
    draw = np.random.default_rng(0)
    upload(bench, rewards=draw.random((N, 4)), embeddings=draw.standard_normal((N, 8)).astype(np.float32))
    result, _ = selected(bench, baselines=["random", "kmeans", "top_learnability"])
    assert result["warnings"] == []
    assert result["left_out"] == 0


def test_another_scale_is_said(bench: Bench) -> None:
    draw = np.random.default_rng(0)
    upload(bench, rewards=np.concatenate([draw.integers(0, 6, (N, 4)).astype(float)]))
    result, _ = selected(bench)
    assert any("rewards go from 0 to 5, and the method expects 0 to 1" in text for text in result["warnings"])


def test_an_empty_selection_gives_advice_that_fits(bench: Bench) -> None:
    upload(bench, rewards=np.zeros((N, 4)))
    job = bench.create(model=None, signals="uploaded", weights={})
    bench.hear()
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == "empty_selection"
    assert "Every reward is 0. Likely causes" in error["message"]


def test_uploaded_vectors_are_teacher_forced_unless_the_request_says_otherwise(bench: Bench) -> None:
    draw = np.random.default_rng(0)
    arrays = {name: draw.standard_normal((N, 8)).astype(np.float32) for name in ("vectors", "embeddings")}
    upload(bench, rewards=draw.random((N, 4)), **arrays)
    _, columns = selected(bench)
    np.testing.assert_array_equal(columns["score"], columns["representativeness"])
    assert set(columns["signal"]) == {SIGNALS.index("teacher")}
    _, columns = selected(bench, weights={"vector": "gradient"})
    np.testing.assert_allclose(columns["score"], columns["representativeness"] + columns["learnability"], atol=1e-6)
    assert set(columns["signal"]) == {SIGNALS.index("policy")}


def test_a_baseline_that_cannot_be_computed_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    upload(bench, rewards=draw.random((N, 4)), embeddings=draw.standard_normal((N, 8)).astype(np.float32))
    monkeypatch.setattr(baselines, "KMEANS_BUDGET", 1000)
    result, columns = selected(bench, baselines=list(BASELINES))
    assert list(result["baselines"]) == ["random", "top_learnability"]
    said = [text for text in result["warnings"] if "is not compared with the baseline" in text]
    assert [text.split("'")[1] for text in said] == ["kmeans", "grand", "el2n"]
    assert (columns["picked_rank"] >= 0).sum() == 10


def test_an_embedding_without_direction_is_final_and_names_its_sample(bench: Bench) -> None:
    embeddings = np.random.default_rng(0).standard_normal((N, 8)).astype(np.float32)
    embeddings[17] = 0
    upload(bench, rewards=pass_rates(), embeddings=embeddings)
    job = bench.create(model=None, signals="uploaded", weights={})
    assert bench.hear() == ["committed", "failed"]
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    assert record.json("error")["code"] == "invalid_signals"
    assert "embeddings: sample 's017' is all zeros" in record.json("error")["message"]


def test_a_model_without_adapter_or_proxy_is_said_to_sort_noise(bench: Bench) -> None:
    base = bench.create()
    trained = bench.create(proxy={"updates": 1, "samples": 8, "grpo": {"batch_size": 2}})
    bench.hear()
    base_said, trained_said = (
        [
            text
            for text in bench.store.jobs.get(job).json("result")["warnings"]
            if "without an adapter or a proxy" in text
        ]
        for job in (base, trained)
    )
    assert len(base_said) == 1
    assert trained_said == []


def test_the_library_and_the_service_have_one_set_of_defaults() -> None:
    library = {name: parameter.default for name, parameter in inspect.signature(select).parameters.items()}
    request = SelectionCreate(dataset_id="ds_1", signals="uploaded", size=256)
    service = {
        "profile": request.profile,
        "vector": request.weights.vector,
        "choice": request.weights.choice,
        "alpha": request.weights.alpha,
        "mu": request.weights.mu,
        "sigma": request.weights.sigma,
        "gated": request.weights.gate.enabled,
        "too_easy_reward": request.weights.gate.too_easy_reward,
        "min_spread": request.weights.gate.min_spread,
        "group_size": request.curriculum.group_size,
        "seed": request.curriculum.seed,
        "strata": request.stratify_by,
    }
    assert {name: library[name] for name in service} == service


def test_the_example_of_the_readme_gives_the_same_picks_in_the_library_and_the_service() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.random((2_000, 4))
    vectors, embeddings = rng.standard_normal((2, 2_000, 64))
    chosen = select(rewards=rewards, vectors=vectors, embeddings=embeddings, k=256)
    measured = Measured(np.arange(2_000), rewards, None, np.zeros(2_000, np.int8), vectors, embeddings)
    for source in ({"signals": "uploaded"}, {"model": {"source": "local", "id": "tiny"}}):
        request = SelectionCreate.model_validate({"dataset_id": "ds_1", "size": 256} | source)
        service = choose(request, measured, [str(row) for row in range(2_000)])
        assert service.order.tolist() == chosen.order.tolist()


def test_a_verdicts_place_among_the_names_is_its_code() -> None:
    codes = {"open": OPEN, "too_hard": TOO_HARD, "too_easy": TOO_EASY, "no_spread": NO_SPREAD}
    assert {name: GATE_VERDICTS.index(name) for name in codes} == codes
