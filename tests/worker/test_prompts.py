"""Selections of prompts, unit by unit, on a real store and a real (tiny) model."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec.api_schemas import TextScore, TrainingResult
from minirec.data.ingest import ingest_prompts
from minirec.store.names import prompts_blob
from minirec.worker import score
from minirec.worker.runner import Runner
from tests.builders import reward_package
from tests.worker.bench import Bench

DIGITS = [{"name": "digits"}]


@pytest.fixture(autouse=True)
def _digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a tiny random model does earn now and then, registered by a package."""
    paths = filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(reward_package(tmp_path)))
    monkeypatch.delitem(sys.modules, "counting", raising=False)


def create(bench: Bench, **changes: Any) -> str:
    return bench.create(**{"rewards": DIGITS, "rollouts": {"group_size": 4, "max_new_tokens": 12}} | changes)


def error_of(bench: Bench, job: str) -> dict[str, Any]:
    found: dict[str, Any] = bench.store.jobs.get(job).json("error")
    return found


def test_prompts_are_selected_without_a_catalogue(prompt_bench: Bench) -> None:
    job = create(prompt_bench)
    assert set(prompt_bench.hear()) == {"committed"}
    columns = prompt_bench.result(job)
    assert len(columns["row"]) == 30, "the train split"
    picked = np.flatnonzero(columns["picked_rank"] >= 0)
    assert len(picked) == 10
    assert sorted(columns["training_position"][picked]) == list(range(10))
    assert columns["rewards"].shape == (30, 4)
    assert ((columns["rewards"] >= 1e-3) == columns["hit"]).all()
    assert set(columns["signal"]) <= {0, 1}
    stages = [event.data["stage"] for event in prompt_bench.store.events.read(job) if event.type == "stage"]
    assert stages == ["preparing", "checking", "planning", "scoring", "selecting"]


def test_another_weight_scores_anew_and_another_size_does_not(
    prompt_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create(prompt_bench)
    prompt_bench.hear()
    doubled = create(prompt_bench, rewards=[{"name": "digits", "weight": 2.0}])
    prompt_bench.hear()
    ours, theirs = (prompt_bench.result(job)["rewards"] for job in (doubled, first))
    np.testing.assert_allclose(ours, 2 * theirs)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was touched")

    monkeypatch.setattr(score, "score_prompts", refuse)
    create(prompt_bench, size=20)
    assert prompt_bench.hear() == ["committed", "committed"]


def test_baselines_but_el2n_choose_among_prompts_too(prompt_bench: Bench) -> None:
    job = create(prompt_bench, baselines=["random", "kmeans", "grand", "top_learnability"])
    prompt_bench.hear()
    assert prompt_bench.store.jobs.get(job).status == "succeeded"
    without = create(prompt_bench, baselines=["el2n"])
    prompt_bench.hear()
    result = prompt_bench.store.jobs.get(without).json("result")
    assert result["baselines"] == {}
    assert any("baseline 'el2n': the baseline 'el2n' needs target_probabilities" in w for w in result["warnings"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"rewards": [{"name": "nonsense"}]}, "unknown_reward"), ({"rewards": None}, "rewards_missing")],
)
def test_rewards_are_checked_before_the_model_runs(prompt_bench: Bench, changes: dict[str, Any], code: str) -> None:
    job = create(prompt_bench, **changes)
    assert prompt_bench.hear() == ["failed"]
    assert error_of(prompt_bench, job)["code"] == code


def test_a_reward_that_fails_fails_the_job_and_names_the_sample(prompt_bench: Bench) -> None:
    import counting  # type: ignore[import-not-found]

    counting.poisoned = True
    job = create(prompt_bench)
    prompt_bench.hear()
    error = error_of(prompt_bench, job)
    assert error["code"] == "reward_failed"
    assert "'digits' failed for sample 'p009': KeyError" in error["message"]


def test_samples_without_an_answer_are_named(prompt_bench: Bench, tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "prompt": "Say.", "answer": "1" if n != 3 else None} for n in range(9)]
    (tmp_path / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ingest_prompts(tmp_path / "open.jsonl", tmp_path / "open")
    prompt_bench.store.blobs.put_file(prompts_blob(done.content_hash), done.path)
    record = prompt_bench.store.datasets.get(prompt_bench.dataset_id)
    prompt_bench.store.datasets.put(record.model_copy(update={"content_hash": done.content_hash}))
    job = create(prompt_bench, rewards=[{"name": "exact_answer"}], size=2)
    prompt_bench.hear()
    error = error_of(prompt_bench, job)
    assert error["code"] == "answer_missing"
    assert "1 of 9 samples have no answer for 'exact_answer' to compare with, the first is 'q3'" in error["message"]


TRAIN: dict[str, Any] = {
    "trainer": "text_grpo",
    "ids": [f"p{n:03d}" for n in (3, 1, 4, 0, 5)],
    "args": {
        "updates": 7,
        "rewards": DIGITS,
        "grpo": {"batch_size": 2, "learning_rate": 0.003},
        "rollouts": {"group_size": 3, "max_new_tokens": 16, "temperature": 1.0},
    },
    "evaluation": {"every": 3, "valid_samples": 4},
}


def test_a_text_training_job_trains_apart_and_leaves_its_files(prompt_bench: Bench) -> None:
    job = prompt_bench.train(**TRAIN)
    assert set(prompt_bench.hear()) == {"committed"}, error_of(prompt_bench, job)
    record = prompt_bench.store.jobs.get(job)
    done = TrainingResult.model_validate(record.json("result"))
    assert (done.updates, done.samples_seen, done.valid_ndcg10) == (7, 14, None)
    assert isinstance(done.test_before, TextScore)
    assert isinstance(done.test_after, TextScore)
    assert done.test_before.samples == 5
    assert done.valid_reward is not None
    events = prompt_bench.store.events.read(job)
    stages = [event.data["stage"] for event in events if event.type == "stage"]
    assert stages == ["preparing", "evaluating_before", "training", "evaluating_after", "finishing"]
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [data["update"] for data in metrics] == list(range(1, 8))
    assert [data["epoch"] for data in metrics] == [1, 1, 1, 2, 2, 3, 3]
    evaluations = [(event.data["split"], event.data["update"]) for event in events if event.type == "evaluation"]
    assert evaluations == [("test", 0), *(("valid", update) for update in (0, 3, 6, 7)), ("test", done.best_update)]
    artifacts = record.json("artifacts")
    assert all(prompt_bench.store.blobs.exists(blob) for blob in artifacts.values()), artifacts
    lines = prompt_bench.store.blobs.local_path(artifacts["metrics.jsonl"]).read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(1, 8))


def test_text_training_without_answers_or_rewards_fails_before_it_starts(prompt_bench: Bench) -> None:
    job = prompt_bench.train(**TRAIN | {"args": {"rewards": [{"name": "nonsense"}], "rollouts": {}}})
    assert prompt_bench.hear() == ["failed"]
    assert error_of(prompt_bench, job)["code"] == "unknown_reward"


def test_a_reward_that_fails_in_training_names_the_sample(prompt_bench: Bench, tmp_path: Path) -> None:
    # The process that trains imports the package anew.
    source = tmp_path / "counting.py"
    source.write_text(source.read_text().replace("poisoned = False", "poisoned = True"))
    job = prompt_bench.train(**TRAIN | {"ids": ["p001", "p009"], "evaluation": {"valid_samples": 0, "test_samples": 0}})
    assert prompt_bench.hear() == ["committed", "failed"]
    error = error_of(prompt_bench, job)
    assert error["code"] == "reward_failed"
    assert "'digits' failed for sample 'p009': KeyError" in error["message"]


@pytest.mark.slow
def test_two_processes_share_a_text_training(prompt_bench: Bench) -> None:
    prompt_bench.settings = prompt_bench.settings.model_copy(update={"train_processes": 2})
    stopping = multiprocessing.get_context("fork").Event()
    prompt_bench.runner = Runner(prompt_bench.store, prompt_bench.settings, stopping)
    args = TRAIN["args"] | {"updates": 3, "grpo": {"batch_size": 4, "learning_rate": 0.003}}
    job = prompt_bench.train(**TRAIN | {"args": args})
    assert set(prompt_bench.hear()) == {"committed"}, error_of(prompt_bench, job)
    events = prompt_bench.store.events.read(job)
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [data["update"] for data in metrics] == [1, 2, 3]
    lines = prompt_bench.store.blobs.local_path(
        prompt_bench.store.jobs.get(job).json("artifacts")["metrics.jsonl"]
    ).read_text()
    assert all(json.loads(line)["samples_seen"] == 4 * number for number, line in enumerate(lines.splitlines(), 1))
    assert [event.data["update"] for event in events if event.type == "evaluation"][1:-1] == [0, 3]


def test_a_pool_of_which_no_prompt_fits_fails_before_the_model_runs(prompt_bench: Bench) -> None:
    job = create(prompt_bench, rollouts={"group_size": 2, "max_new_tokens": 8000})
    assert prompt_bench.hear(queue="cpu") == ["committed", "committed", "failed"]
    error = error_of(prompt_bench, job)
    assert (error["code"], error["samples"], error["stage"]) == ("empty_pool", 30, "planning")
    assert "the prompt of sample 'p000' has" in error["message"]
