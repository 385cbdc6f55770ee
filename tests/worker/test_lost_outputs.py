"""What was lost or damaged after it was made is made again: just that, by a retry and by new selections."""

from __future__ import annotations

import re
from typing import Any

import pytest

from minirec.store.columns import shard_field
from minirec.store.garbage import collect_garbage
from minirec.store.retention import delete_job, drop_dataset
from tests.worker.bench import Bench

TRAIN = {"updates": 1, "grpo": {"batch_size": 2}, "rollouts": {"group_size": 2, "max_new_tokens": 6}}
PROXY = {"updates": 1, "samples": 8, "grpo": {"batch_size": 4}}


def damage(bench: Bench, pattern: str, how: str) -> str:
    """Delete the first blob whose name matches, or flip a bit of it; returns its name."""
    blobs = bench.store.blobs
    name = min(name for name in blobs.all_names() if re.search(pattern, name) and not name.endswith(".crc32"))
    if how == "deleted":
        blobs.delete(name)
    else:
        path = blobs._path(name)
        content = bytearray(blobs._fs.cat_file(path))
        content[-3] ^= 4
        blobs._fs.pipe_file(path, bytes(content))
    return name


def warnings(bench: Bench, job: str) -> list[str]:
    events = bench.store.events.read(job, limit=1000)
    return [
        event.data["message"] for event in events if event.type == "warning" and "made again" in event.data["message"]
    ]


def forget_loaded() -> None:
    """What this process has read before would hide what is gone: a worker that starts has read nothing."""
    from minirec.worker import catalogue

    catalogue._load.cache_clear()


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
@pytest.mark.parametrize(
    ("pattern", "again"),
    [
        (r"^scorings/.*shard-000001", {"score": 1}),
        (r"^catalogues/", {"catalogue": 1, "score": 1}),
    ],
)
def test_a_lost_shard_is_made_again_by_a_new_selection(
    bench: Bench, pattern: str, again: dict[str, int], how: str
) -> None:
    first = bench.create()
    bench.hear()
    before = bench.result(first)
    lost = damage(bench, pattern, how)
    if "catalogue" in again:
        damage(bench, r"^scorings/.*shard-000001", how)  # The catalogue is read only where something is scored.
    forget_loaded()
    second = bench.create(size=8)
    outcomes = bench.hear()
    assert outcomes.count("reopened") == len(again)
    # prepare and select of the second selection, and what was made again.
    assert outcomes.count("committed") == 2 + sum(again.values())
    assert "failed" not in outcomes
    found = bench.result(second)
    for name in ("rewards", "representativeness", "score"):
        assert (found[name] == before[name]).all()
    assert any(lost in message for message in warnings(bench, second))
    assert bench.store.blobs.exists(lost)


def test_scores_in_redis_that_are_damaged_are_noticed(bench: Bench) -> None:
    first = bench.create()
    bench.hear()
    record = bench.store.jobs.get(first)
    name = record.fields["measured"]
    key = f"{bench.store.prefix}columns:{name}"
    redis: Any = bench.store.redis
    value = bytearray(redis.hget(key, shard_field(1)))
    value[-1] ^= 1
    bench.store.redis.hset(key, shard_field(1), bytes(value))
    with pytest.raises(RuntimeError, match="checksum"):
        bench.result(first)
    # A new selection from the same scores puts them right.
    second = bench.create(size=8)
    assert bench.hear().count("reopened") == 1
    bench.result(second)
    bench.result(first)


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
def test_a_job_that_failed_for_it_goes_on_when_it_is_retried(bench: Bench, how: str) -> None:
    job = bench.create()
    bench.hear(queue="cpu")
    bench.hear(queue="gpu")
    group = bench.store.jobs.get(job).fields["group"]
    claim = bench.store.machine.claim(group, 0, worker="w", lease=60)
    assert claim is not None
    bench.store.machine.fail(claim, {"code": "storage_error", "message": "x"}, retryable=False, max_attempts=3)
    damage(bench, r"^scorings/.*shard-000000", how)
    bench.doorbells.clear()
    assert bench.store.machine.retry(job) == "ok"
    assert bench.hear() == ["reopened", "committed", "committed"]
    bench.result(job)


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
def test_a_checkpoint_within_a_shard_is_measured_again(bench: Bench, how: str) -> None:
    job = bench.create()
    bench.hear(queue="cpu")
    put = bench.store.blobs.put_arrays

    def die_at_the_shard(name: str, arrays: Any) -> None:
        if "shard-" in name:
            raise RuntimeError("killed")
        put(name, arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.store.blobs, "put_arrays", die_at_the_shard)
        assert bench.hear(queue="gpu", limit=4)[-1] == "failed"
    lost = damage(bench, r"^scorings/.*part-000000", how)
    outcomes = bench.hear()
    # A part that is gone is measured anew; one that is damaged costs the shard another attempt.
    assert outcomes.count("failed") == (0 if how == "deleted" else 1)
    bench.result(job)
    assert not bench.store.blobs.exists(lost)


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_lost_proxy_is_trained_again(bench: Bench, file: str, how: str) -> None:
    first = bench.create(proxy=PROXY)
    bench.hear()
    bench.result(first)
    damage(bench, rf"^proxies/.*{file}$", how)
    damage(bench, r"^scorings/.*shard-000000", how)  # The proxy is read only where something is scored.
    forget_loaded()
    second = bench.create(proxy=PROXY, size=8)
    outcomes = bench.hear()
    assert "failed" not in outcomes
    assert outcomes.count("reopened") == 2
    bench.result(second)


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
@pytest.mark.parametrize("file", ["adapter_model.safetensors", "metrics.jsonl", "summary.json"])
def test_a_lost_training_run_is_run_again(split_bench: Bench, file: str, how: str) -> None:
    bench = split_bench
    first = bench.train(args=TRAIN)
    bench.hear()
    assert bench.store.jobs.get(first).status == "succeeded"
    lost = damage(bench, rf"^trainings/.*{file}$", how)
    second = bench.train(args=TRAIN)
    outcomes = bench.hear()
    assert "reopened" in outcomes
    assert "failed" not in outcomes
    record = bench.store.jobs.get(second)
    assert record.status == "succeeded"
    assert record.json("result") == bench.store.jobs.get(first).json("result")
    assert bench.store.blobs.exists(lost)


@pytest.mark.parametrize("how", ["deleted", "bit flipped"])
def test_a_lost_evaluation_is_made_again(split_bench: Bench, how: str) -> None:
    bench = split_bench
    first = bench.train(args=TRAIN)
    bench.hear()
    damage(bench, r"^(rankings|evaluations)/", how)
    second = bench.train(args=TRAIN)
    assert "reopened" in bench.hear()
    assert bench.store.jobs.get(second).json("result") == bench.store.jobs.get(first).json("result")


def test_a_lost_dataset_is_said_to_be_lost(bench: Bench) -> None:
    damage(bench, r"^datasets/.*samples", "bit flipped")
    job = bench.create()
    bench.hear()
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    assert "samples.parquet" in record.json("error")["message"]
    assert any(name.endswith("samples.parquet") for name in bench.store.blobs.all_names())


def test_what_is_lost_again_and_again_fails_in_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.create()
    bench.hear()
    put = bench.store.blobs.put_arrays

    def put_and_lose(name: str, arrays: Any) -> None:
        put(name, arrays)
        if "shard-000000" in name:
            damage(bench, name, "bit flipped")

    damage(bench, r"^scorings/.*shard-000000", "deleted")
    monkeypatch.setattr(bench.store.blobs, "put_arrays", put_and_lose)
    job = bench.create(size=8)
    outcomes = bench.hear(limit=100)
    assert outcomes.count("reopened") == 5
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    error = record.json("error")
    assert (error["code"], error["retryable"]) == ("storage_error", True), "a retry may reopen as often again"


def test_after_everything_is_deleted_nothing_is_left(split_bench: Bench) -> None:
    bench = split_bench
    selection = bench.create(proxy=PROXY, baselines=["random"])
    training = bench.train(args=TRAIN)
    bench.hear()
    failed = bench.create(model={"source": "local", "id": "nothing"})
    bench.hear()
    assert [bench.store.jobs.get(job).status for job in (selection, training, failed)] == [
        "succeeded",
        "succeeded",
        "failed",
    ]
    for job in (selection, training, failed):
        delete_job(bench.store, job)
    # The dataset as its route deletes it.
    for record in bench.store.datasets.all():
        drop_dataset(bench.store, record.id, record.content_hash)
        bench.store.datasets.delete(record.id)
    collect_garbage(bench.store)
    assert bench.store.blobs.all_names() == {}
    # What workers compute with, and what they count, are facts about the deployment, and of constant size.
    assert {key.decode() for key in bench.store.redis.scan_iter("*")} <= {"minirec:device", "minirec:counters"}
