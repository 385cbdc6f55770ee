"""The pipeline, unit by unit, on a real store and a real (tiny) model."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest

from minirec.api_schemas.selections import SIGNALS
from minirec.policy.policy import Policy
from minirec.policy.scoring import score_samples
from minirec.service.stored_views import Beside
from minirec.store.blobs import BlobStore
from minirec.worker import score
from tests.worker.bench import Bench


def test_a_selection_runs_through_its_stages(bench: Bench) -> None:
    job = bench.create()
    assert set(bench.hear()) == {"committed"}
    columns = bench.result(job)
    picked = np.flatnonzero(columns["picked_rank"] >= 0)
    assert len(picked) == 10
    assert sorted(columns["picked_rank"][picked]) == list(range(10))
    assert sorted(columns["training_position"][picked]) == list(range(10))
    # Two or three groups of at most 4, each from easy to hard.
    order = np.argsort(columns["training_position"])[-10:]
    means, groups = columns["rewards"].mean(1)[order], columns["group"][order]
    assert list(groups) == sorted(groups)
    for group in set(groups):
        assert all(np.diff(means[groups == group]) <= 0)
    stages = [event.data["stage"] for event in bench.store.events.read(job) if event.type == "stage"]
    assert stages == ["preparing", "checking", "planning", "embedding_catalogue", "scoring", "selecting"]
    provenance = bench.store.jobs.get(job).json("provenance")
    assert len(provenance["model"]["revision"]) >= 40


def test_another_size_does_not_touch_the_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.create(size=10)
    bench.hear()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was touched")

    monkeypatch.setattr(score, "score_samples", refuse)
    second = bench.create(size=20, weights={"alpha": 2.0, "gate": {"enabled": False}})
    assert bench.hear() == ["committed", "committed"]  # preparing, selecting
    assert (bench.result(second)["picked_rank"] >= 0).sum() == 20
    np.testing.assert_array_equal(bench.result(first)["rewards"], bench.result(second)["rewards"])
    assert bench.store.jobs.get(second).fields["cached:scoring"] == "48"


def test_representativeness_is_of_teacher_forced_gradients_unless_another_vector_is_asked_for(bench: Bench) -> None:
    jobs = {name: bench.create(weights={"vector": name}) for name in (None, "teacher", "gradient")}
    bench.hear()
    default, teacher, advantages = (bench.result(job) for job in jobs.values())
    np.testing.assert_array_equal(default["representativeness"], teacher["representativeness"])
    assert not np.allclose(default["representativeness"], advantages["representativeness"])
    assert set(default["signal"]) == {SIGNALS.index("teacher")}
    assert SIGNALS.index("policy") in advantages["signal"]


def test_selections_that_run_together_share_their_shards(bench: Bench) -> None:
    jobs = [bench.create(size=8), bench.create(size=9)]
    outcomes = bench.hear()
    # 2 preparing + 1 checking + 2 planning + 3 catalogue shards + 3 scoring shards + 2 selecting, although two jobs
    # wanted each shard.
    assert outcomes.count("committed") == 13
    for job, size in zip(jobs, (8, 9), strict=True):
        assert (bench.result(job)["picked_rank"] >= 0).sum() == size


def test_a_shard_goes_on_from_its_last_micro_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed_rollouts = {"group_size": 2, "max_new_tokens": 6, "ndcg_k": 998}
    undisturbed = bench.create(rollouts=undisturbed_rollouts)
    bench.hear()
    expected = bench.result(undisturbed)

    # K beyond the catalogue's size changes no reward, but nothing of it is cached.
    job = bench.create(rollouts=undisturbed_rollouts | {"ndcg_k": 999})
    scored: list[list[str]] = []

    def dies_in_second_batch(policy: Any, catalogue: Any, items: Any, samples: Any, **settings: Any) -> Any:
        scored.append([sample.id for sample in samples])
        if len(scored) == 2:
            raise RuntimeError("the machine caught fire")
        return score_samples(policy, catalogue, items, samples, **settings)

    monkeypatch.setattr(score, "score_samples", dies_in_second_batch)
    outcomes = bench.hear()
    assert outcomes.count("failed") == 1
    ids = [sample for batch in scored for sample in batch]
    assert len(ids) == 48 + 8, "only the micro-batch that was lost is computed again"
    assert ids.count(scored[0][0]) == 1
    retries = [event for event in bench.store.events.read(job) if event.type == "retry"]
    assert len(retries) == 1
    assert "caught fire" in retries[0].data["reason"]
    actual = bench.result(job)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_a_device_that_takes_more_gets_several_micro_batches_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each still is a checkpoint: of two that were measured together, the one that was lost is measured again.

    All but the last ones, which the shard itself follows at once.
    """
    rollouts = {"group_size": 2, "max_new_tokens": 6, "ndcg_k": 998}
    undisturbed = bench.create(rollouts=rollouts)
    bench.hear()
    expected = bench.result(undisturbed)
    scored: list[int] = []

    def counting(policy: Any, catalogue: Any, items: Any, samples: Any, **settings: Any) -> Any:
        scored.append(len(samples))
        return score_samples(policy, catalogue, items, samples, **settings)

    monkeypatch.setattr(score, "score_samples", counting)
    monkeypatch.setattr(Policy, "samples_at_once", lambda policy, group: 20)
    put, parts = BlobStore.put_arrays, []

    def loses_the_second_part(store: BlobStore, name: str, arrays: Any) -> None:
        parts.extend([name] * ("/part-" in name))
        if len(parts) == 2 and name == parts[1]:
            raise RuntimeError("the network caught fire")
        put(store, name, arrays)

    monkeypatch.setattr(BlobStore, "put_arrays", loses_the_second_part)
    monkeypatch.setattr(bench.runner, "_settings", bench.settings.model_copy(update={"shard_size": 48}))
    # K beyond the catalogue's size changes no reward, but nothing of it is cached.
    job = bench.create(rollouts=rollouts | {"ndcg_k": 999})
    bench.hear()
    assert scored == [16, 16, 16, 8]
    assert [int(name[-16:-12]) for name in parts] == [0, 1, 1, 2, 3, 4]
    actual = bench.result(job)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-6, err_msg=name)
    first, second = (Beside(bench.store, bench.store.jobs.get(one)) for one in (undisturbed, job))
    texts = [first.texts(position) for position in range(48)]
    assert all(len(kept) == 2 and all(one.text.endswith("<answer>") for one in kept) for kept in texts)
    assert [second.texts(position) for position in range(48)] == texts, "each sample has its own, whatever was lost"


def test_no_texts_are_kept_where_none_are_wanted(bench: Bench) -> None:
    job = bench.create(rollouts={"group_size": 2, "max_new_tokens": 6}, texts={"rollouts": 0})
    bench.hear()
    beside = Beside(bench.store, bench.store.jobs.get(job))
    assert beside.texts(0) == []
    root = Path(urlparse(bench.settings.blob_url).path)
    assert list(root.rglob("texts-*")) == []
    view, embedding = beside.view(), beside.embedding(5, 5)
    assert view is not None
    assert embedding is not None
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    picked = np.flatnonzero(bench.result(job)["picked_rank"] == 0)[0]
    first = beside.embedding(int(picked), int(picked))
    assert first is not None
    assert view["picked"][0] @ first == pytest.approx(1, abs=1e-3)


def test_a_poisonous_shard_fails_its_selection_and_names_its_samples(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot score this")

    monkeypatch.setattr(score, "score_samples", poison)
    job = bench.create()
    bench.hear()
    record = bench.store.jobs.get(job)
    error = record.json("error")
    assert record.status == "failed"
    assert (error["code"], error["retryable"]) == ("internal_error", True)
    assert error["stage"] == "scoring"
    assert "cannot score this" in error["message"]
    assert len(error["sample_ids"]) == 16

    monkeypatch.undo()
    assert bench.store.machine.retry(job) == "ok"
    bench.hear()
    assert bench.store.jobs.get(job).status == "succeeded"


def test_a_lost_worker_is_replaced_when_its_lease_ends(bench: Bench) -> None:
    job = bench.create()
    bench.hear(queue="cpu")
    bell = bench.doorbells[0]
    lost = bench.store.machine.claim(bell.group, bell.unit, worker="lost", lease=0.01)
    assert lost is not None
    bench.hear()
    assert bench.store.jobs.get(job).status == "running"
    assert bench.store.machine.sweep(max_setbacks=3, ring_after={"gpu": 600}) == 1
    bench.hear()
    assert bench.store.jobs.get(job).status == "succeeded"
    assert not bench.store.machine.commit(lost, progress=1), "its fence is no longer current"


def test_cancelling_stops_work_at_the_next_micro_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.create()
    calls = []

    def cancels(*args: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            assert bench.store.machine.cancel(job) == "ok"
            assert bench.store.jobs.get(job).status == "cancelling"
        return score_samples(*args, **settings)

    monkeypatch.setattr(score, "score_samples", cancels)
    assert "abandoned" in bench.hear()
    assert bench.store.jobs.get(job).status == "cancelled"
    assert len(calls) == 1

    assert bench.store.machine.retry(job) == "ok"
    bench.hear()
    bench.result(job)
    assert len(calls) == 6, "the finished micro-batch was not computed again"


def test_a_worker_that_shuts_down_gives_its_shard_back_unharmed(bench: Bench) -> None:
    job = bench.create()
    bench.hear(queue="cpu")
    bench.runner._stopping.set()
    assert bench.hear(limit=1) == ["stopping"]
    bench.runner._stopping.clear()
    bench.hear()
    assert bench.store.jobs.get(job).status == "succeeded"
    assert not [event for event in bench.store.events.read(job) if event.type == "retry"]


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"size": 49}, "size_too_large", "48"),
        ({"pool": {"split": "valid"}}, "empty_pool", "valid"),
        ({"model": {"source": "local", "id": "absent"}}, "model_not_found", "absent"),
    ],
)
def test_what_cannot_be_done_fails_at_once_and_says_why(
    bench: Bench, changes: dict[str, Any], code: str, says: str
) -> None:
    job = bench.create(**changes)
    assert bench.hear() == ["failed"]
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == code
    assert says in error["message"]


def test_a_gate_that_leaves_nothing_fails_with_the_rewards(bench: Bench) -> None:
    job = bench.create(
        rollouts={"group_size": 2, "max_new_tokens": 6, "ndcg_k": 1}, weights={"gate": {"too_easy_reward": 0.0}}
    )
    bench.hear()
    error = bench.store.jobs.get(job).json("error")
    assert error["code"] == "empty_selection"


def test_the_papers_profile_runs_on_the_same_pipeline(bench: Bench) -> None:
    job = bench.create(profile="paper")
    bench.hear()
    columns = bench.result(job)
    assert (columns["picked_rank"] >= 0).sum() == 10
    assert (columns["gate"] == 0).all()
