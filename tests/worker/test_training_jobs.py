"""Training jobs: in order, the best adapter kept, and the same adapter whatever died on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minirec.api_schemas import Event, Ranking, TrainingResult
from minirec.policy.catalogue import embed_items
from minirec.specs.outputs import rows_columns, training_checkpoints
from minirec.training import evaluate, learner
from minirec.training.evaluate import Evaluation
from minirec.worker import training
from tests.worker.bench import Bench

IDS = [f"s{n:03d}" for n in (9, 2, 0, 7, 4, 1, 12)]
ROLLOUTS = {"group_size": 3, "max_new_tokens": 6}
GRPO = {"batch_size": 3, "learning_rate": 0.01}


def body(**changes: Any) -> dict[str, Any]:
    args = {"updates": 7, "grpo": GRPO, "rollouts": ROLLOUTS} | changes.pop("args", {})
    return {"ids": IDS, "args": args, "evaluation": {"every": 2}} | changes


def events(bench: Bench, job: str, kind: str) -> list[Event]:
    return [event for event in bench.store.events.read(job, limit=1000) if event.type == kind]


def result(bench: Bench, job: str) -> TrainingResult:
    record = bench.store.jobs.get(job)
    assert record.status == "succeeded", record.fields.get("error")
    return TrainingResult.model_validate(record.json("result"))


def artifact(bench: Bench, job: str, name: str) -> Any:
    return bench.store.blobs.local_path(bench.store.jobs.get(job).json("artifacts")[name])


def adapter(bench: Bench, job: str) -> dict[str, Any]:
    return load_file(artifact(bench, job, "adapter_model.safetensors"))


def assert_same_adapter(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


def ranked(value: float) -> Evaluation:
    ndcg = dict.fromkeys((5, 10, 20, 50), value)
    # A rank between two places, whose gain over all ranks is the value.
    return Evaluation(samples=6, hit_rate=ndcg, ndcg=ndcg, ranks=(2 ** (1 / value) - 1,))  # type: ignore[arg-type]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Makes validation say NDCG as it was told, evaluation by evaluation."""

    def script(values: list[float]) -> None:
        left = iter(values)
        monkeypatch.setattr("minirec.training.grpo.evaluate", lambda *_, **__: ranked(next(left)))

    return script


def die_once(monkeypatch: pytest.MonkeyPatch, *, at_update: int) -> None:
    """Let the worker die after an update, at the first attempt."""
    real = training.train
    killed: list[int] = []

    def dies(*arguments: Any, on_update: Any, **settings: Any) -> Any:
        def stops(metrics: Any) -> None:
            on_update(metrics)
            if metrics["update"] == at_update and not killed:
                killed.append(at_update)
                raise RuntimeError("killed")

        return real(*arguments, on_update=stops, **settings)

    monkeypatch.setattr(training, "train", dies)


def test_a_job_trains_evaluates_and_leaves_its_files(split_bench: Bench) -> None:
    job = split_bench.train(**body())
    split_bench.hear()
    done = result(split_bench, job)
    stages = [event.data["stage"] for event in events(split_bench, job, "stage")]
    assert stages == ["preparing", "evaluating_before", "training", "evaluating_after", "finishing"]
    assert (done.updates, done.samples_seen, done.stopped_early) == (7, 17, False)
    assert isinstance(done.test_before, Ranking)
    assert isinstance(done.test_after, Ranking)
    assert done.test_before.samples == done.test_after.samples == 6
    assert set(done.test_after.ndcg) == set(done.test_after.hr) == {"5", "10", "20", "50"}
    metrics = events(split_bench, job, "metrics")
    assert [event.data["update"] for event in metrics] == [1, 2, 3, 4, 5, 6, 7]
    assert {"loss", "reward_mean", "ndcg10", "tokens_per_second", "seconds"} <= set(metrics[0].data)
    evaluated = [(event.data["split"], event.data["update"]) for event in events(split_bench, job, "evaluation")]
    assert evaluated == [
        ("test", 0),
        *(("valid", update) for update in (0, 2, 4, 6, 7)),
        ("test", done.best_update),
    ]
    lines = artifact(split_bench, job, "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    history = json.loads(artifact(split_bench, job, "evaluation.json").read_text())
    assert [entry["update"] for entry in history["valid"]] == [0, 2, 4, 6, 7]
    assert history["test"]["after"] == done.test_after.model_dump()
    config = json.loads(artifact(split_bench, job, "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"], config["revision"]) == (4, "./tiny", None)
    assert done.improved is (done.best_update > 0)
    name = split_bench.store.jobs.get(job).json("provenance")["training_fingerprint"]
    assert split_bench.store.blobs.folders(training_checkpoints(name)) == []


def test_the_catalogue_of_a_selection_serves_the_evaluation_before(
    split_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []

    def spy(*arguments: Any, **settings: Any) -> Any:
        embedded.append(1)
        return embed_items(*arguments, **settings)

    monkeypatch.setattr(evaluate, "embed_items", spy)
    anew = split_bench.train(**body(args={"updates": 1}, evaluation={"valid_samples": 0}))
    split_bench.hear()
    assert len(embedded) == 2, "before and after"
    for key in split_bench.store.redis.scan_iter(f"{split_bench.store.prefix}group:evaluate:*"):
        split_bench.store.redis.delete(key)
    split_bench.create()
    split_bench.hear()
    embedded.clear()
    job = split_bench.train(**body(args={"updates": 2}, evaluation={"valid_samples": 0}))
    split_bench.hear()
    assert len(embedded) == 1, "after only"
    assert result(split_bench, job).test_before == result(split_bench, anew).test_before


def test_samples_come_in_the_order_of_the_ids_in_every_epoch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[str]] = []
    update = learner.Learner.update

    def spy(self: learner.Learner, samples: Any, *arguments: Any) -> learner.Learned:
        batches.append([sample.id for sample in samples])
        return update(self, samples, *arguments)

    monkeypatch.setattr(learner.Learner, "update", spy)
    job = bench.train(**body(args={"updates": None, "epochs": 2}))
    bench.hear()
    assert batches == 2 * [IDS[:3], IDS[3:6], IDS[6:]]
    assert (result(bench, job).updates, result(bench, job).samples_seen) == (6, 14)


def test_a_selection_is_trained_on_in_its_training_order(bench: Bench) -> None:
    selection = bench.create()
    bench.hear()
    columns = bench.result(selection)
    place = columns["training_position"]
    job = bench.train(selection_id=selection, dataset_id=None, **body(ids=None))
    bench.hear()
    assert result(bench, job).updates == 7
    name = bench.store.jobs.get(job).json("provenance")["training_fingerprint"]
    rows = bench.store.columns.read(rows_columns(name, "train"))["row"].tolist()
    assert rows == [int(columns["row"][np.flatnonzero(place == position)[0]]) for position in range(10)]


def test_without_held_out_samples_the_job_says_so_and_keeps_the_last_adapter(bench: Bench) -> None:
    job = bench.train(**body())
    bench.hear()
    done = result(bench, job)
    assert (done.best_update, done.valid_ndcg10, done.test_before, done.test_after) == (7, None, None, None)
    assert (done.improved, done.warnings) == (None, [])
    warnings = [event.data["message"] for event in events(bench, job, "warning")]
    assert len(warnings) == 2
    assert "no samples in its valid split" in warnings[0]


@pytest.mark.parametrize(("at_update", "checkpoint"), [(3, 2), (4, 2), (6, 5)])
def test_a_killed_run_ends_with_the_adapter_of_an_undisturbed_one(
    split_bench: Bench, monkeypatch: pytest.MonkeyPatch, at_update: int, checkpoint: int
) -> None:
    undisturbed = split_bench.train(**body())
    split_bench.hear()
    expected, expected_result = adapter(split_bench, undisturbed), result(split_bench, undisturbed)
    forget(split_bench, undisturbed)
    die_once(monkeypatch, at_update=at_update)
    job = split_bench.train(**body())
    split_bench.hear()
    updates = [event.data["update"] for event in events(split_bench, job, "metrics")]
    # The last checkpoint is that of the evaluation before, or of the fifth update.
    assert updates == [*range(1, at_update + 1), *range(checkpoint + 1, 8)]
    assert_same_adapter(adapter(split_bench, job), expected)
    assert result(split_bench, job) == expected_result


def test_the_best_adapter_survives_a_kill(
    split_bench: Bench, monkeypatch: pytest.MonkeyPatch, scripted: Callable[[list[float]], None]
) -> None:
    scripted([0.1, 0.5, 0.2, 0.3, 0.1])
    die_once(monkeypatch, at_update=5)
    job = split_bench.train(**body())
    split_bench.hear()
    done = result(split_bench, job)
    assert (done.best_update, done.valid_ndcg10, done.updates) == (2, 0.5, 7)
    history = json.loads(artifact(split_bench, job, "evaluation.json").read_text())["valid"]
    assert [entry["ndcg"]["10"] for entry in history] == [0.1, 0.5, 0.2, 0.3, 0.1], "nothing was evaluated twice"
    short = split_bench.train(**body(args={"updates": 2}, evaluation={"valid_samples": 0}))
    split_bench.hear()
    assert_same_adapter(adapter(split_bench, job), adapter(split_bench, short))


def test_a_run_that_found_nothing_better_than_its_start_says_so(
    split_bench: Bench, scripted: Callable[[list[float]], None]
) -> None:
    scripted([0.5, 0.1, 0.2, 0.5, 0.4])
    job = split_bench.train(**body())
    split_bench.hear()
    done = result(split_bench, job)
    assert (done.best_update, done.improved, done.updates) == (0, False, 7)
    (warning,) = done.warnings
    assert "no update was better than the model as it was, by the NDCG over all ranks of 5 evaluations" in warning
    moved = [tensor for name, tensor in adapter(split_bench, job).items() if "lora_B" in name]
    assert moved
    assert not any(tensor.any() for tensor in moved)


def test_training_stops_when_validation_no_longer_rises(
    split_bench: Bench, scripted: Callable[[list[float]], None]
) -> None:
    scripted([0.1, 0.2, 0.2005, 0.15, 0.9])
    stopping = {"patience": 2, "min_delta": 0.001}
    job = split_bench.train(**body(args={"updates": 20, "early_stopping": stopping}))
    split_bench.hear()
    done = result(split_bench, job)
    assert (done.updates, done.stopped_early, done.best_update, done.valid_ndcg10) == (6, True, 2, 0.2)


def test_null_early_stopping_trains_to_the_end_and_keeps_the_best(
    split_bench: Bench, scripted: Callable[[list[float]], None]
) -> None:
    scripted([0.3, 0.4, 0.1, 0.1, 0.1, 0.1])
    job = split_bench.train(**body(args={"updates": 10, "early_stopping": None}))
    split_bench.hear()
    done = result(split_bench, job)
    assert (done.updates, done.stopped_early, done.best_update) == (10, False, 2)


def test_a_cancelled_job_goes_on_from_its_checkpoint(split_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = split_bench.train(**body())
    real = training.train

    def cancels(*arguments: Any, on_update: Any, **settings: Any) -> Any:
        def stops(metrics: Any) -> None:
            if metrics["update"] == 5:
                split_bench.store.machine.cancel(job)
            on_update(metrics)

        return real(*arguments, on_update=stops, **settings)

    monkeypatch.setattr(training, "train", cancels)
    split_bench.hear()
    assert split_bench.store.jobs.get(job).status == "cancelled"
    monkeypatch.undo()
    assert split_bench.store.machine.retry(job) == "ok"
    split_bench.hear()
    assert result(split_bench, job).updates == 7
    assert [event.data["update"] for event in events(split_bench, job, "metrics")] == [1, 2, 3, 4, 6, 7]


def test_equal_jobs_train_once(split_bench: Bench) -> None:
    jobs = [split_bench.train(**body()) for _ in range(2)]
    assert split_bench.hear().count("committed") == 7, "prepare and finish twice, train once, evaluate twice"
    assert result(split_bench, jobs[0]) == result(split_bench, jobs[1])


def test_what_cannot_be_trained_on_fails_at_once(bench: Bench) -> None:
    unknown = bench.train(**body(ids=["s000", "nobody"]))
    bench.hear()
    error = bench.store.jobs.get(unknown).json("error")
    assert (error["code"], error["stage"]) == ("unknown_sample", "preparing")
    assert "'nobody'" in error["message"]
    too_long = bench.train(**body(args={"rollouts": ROLLOUTS | {"max_new_tokens": 8000}}))
    assert bench.hear() == ["failed"]
    error = bench.store.jobs.get(too_long).json("error")
    assert (error["code"], error["stage"]) == ("prompt_too_long", "preparing")


def test_evaluation_leaves_out_what_is_trained_on(split_bench: Bench) -> None:
    test_ids = [f"s{n:03d}" for n in range(30, 36)]
    job = split_bench.train(**body(ids=test_ids[:2]))
    split_bench.hear()
    after = result(split_bench, job).test_after
    assert after is not None
    assert after.samples == 4


def forget(bench: Bench, job: str) -> None:
    """Remove a training run, so that an equal job trains again."""
    name = bench.store.jobs.get(job).json("provenance")["training_fingerprint"]
    bench.store.blobs.delete_tree(f"trainings/{name}")
    for key in bench.store.redis.scan_iter(f"{bench.store.prefix}group:train:{name}*"):
        bench.store.redis.delete(key)
