"""Datasets, signals and idempotency keys as records; ids; events."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.asyncio

from minirec.api_schemas import Dataset, Event, Signals
from minirec.store import Store
from minirec.store.errors import NotFoundError
from minirec.store.events import follow
from minirec.store.ids import new_id
from minirec.store.machine import Stage
from minirec.store.records import IdempotencyConflictError, Replay, Reservation


def dataset(name: str, content: str = "abc", created_at: float = 1.0) -> Dataset:
    return Dataset(
        id=name,
        created_at=created_at,
        n_samples=3,
        n_items=2,
        n_users=1,
        splits={"none": 3},
        content_hash=content,
        metadata={"é": "日本"},
    )


# Datasets


def test_a_dataset_comes_back_as_it_was_put(store: Store) -> None:
    store.datasets.put(dataset("ds_1"))
    assert store.datasets.get("ds_1") == dataset("ds_1")
    with pytest.raises(NotFoundError, match="ds_2"):
        store.datasets.get("ds_2")


def test_pages_are_newest_first_and_say_whether_there_are_more(store: Store) -> None:
    for n in range(5):
        store.datasets.put(dataset(f"ds_{n}", created_at=n))

    def page(limit: int, after: str | None = None) -> tuple[list[str], bool]:
        found, more = store.datasets.page(limit=limit, after=after)
        return [entry.id for entry in found], more

    assert page(2) == (["ds_4", "ds_3"], True)
    assert page(2, "ds_3") == (["ds_2", "ds_1"], True)
    assert page(2, "ds_1") == (["ds_0"], False)
    assert page(5) == (["ds_4", "ds_3", "ds_2", "ds_1", "ds_0"], False)
    with pytest.raises(NotFoundError, match="ds_9"):
        page(2, "ds_9")


def test_deleting_tells_whether_the_content_is_still_used(store: Store) -> None:
    for name, content in (("ds_1", "a"), ("ds_2", "a"), ("ds_3", "b")):
        store.datasets.put(dataset(name, content))
    assert [store.datasets.delete(name) for name in ("ds_1", "ds_3", "ds_2")] == [False, True, True]
    assert store.datasets.page(limit=10) == ([], False)
    with pytest.raises(NotFoundError):
        store.datasets.delete("ds_1")


def test_the_last_signals_of_a_dataset_count(store: Store) -> None:
    assert store.signals.get("ds_1") is None
    for content in ("a", "b"):
        store.signals.put(
            Signals(
                dataset_id="ds_1",
                created_at=1.0,
                content_hash=content,
                dataset_content_hash="abc",
                n_samples=3,
                rollouts=2,
                has_hits=False,
            )
        )
    found = store.signals.get("ds_1")
    assert found is not None
    assert found.content_hash == "b"
    store.signals.delete("ds_1")
    assert store.signals.get("ds_1") is None


# Idempotency keys

REPLAY = Replay(202, '{"é": "日本"}'.encode(), {"location": "/v1/selections/sel_1"})


def reserve(store: Store, key: str, body: str = "body", *, seconds: int = 60) -> Reservation:
    """Begin a request that nobody has made before."""
    found = store.idempotency.begin(key, body, seconds=seconds)
    assert isinstance(found, Reservation)
    return found


def test_an_answer_is_kept_for_its_key(store: Store) -> None:
    assert store.idempotency.finish(reserve(store, "k"), REPLAY)
    assert store.idempotency.begin("k", "body") == REPLAY
    assert 23 * 3600 < store.redis.ttl(f"{store.prefix}idempotency:k") <= 24 * 3600


def test_a_key_in_use_is_a_conflict(store: Store) -> None:
    reserve(store, "k")
    with pytest.raises(IdempotencyConflictError) as caught:
        store.idempotency.begin("k", "body")
    assert caught.value.in_progress


def test_a_key_of_another_request_is_a_conflict_of_another_kind(store: Store) -> None:
    first = reserve(store, "k")
    for _ in range(2):
        with pytest.raises(IdempotencyConflictError) as caught:
            store.idempotency.begin("k", "another")
        assert not caught.value.in_progress
        store.idempotency.finish(first, REPLAY)


def test_an_abandoned_key_is_free(store: Store) -> None:
    assert store.idempotency.abandon(reserve(store, "k"))
    reserve(store, "k", "another")


@pytest.mark.slow
def test_a_key_whose_process_died_becomes_free(store: Store) -> None:
    reserve(store, "k", seconds=1)
    time.sleep(1.1)
    reserve(store, "k")


@pytest.mark.parametrize("end", ["finish", "abandon"])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.slow
def test_a_request_that_outlived_its_reservation_leaves_the_next_ones_alone(
    store: Store, end: str, answered: bool
) -> None:
    late = reserve(store, "k", seconds=1)
    time.sleep(1.1)
    second = reserve(store, "k")
    if answered:
        assert store.idempotency.finish(second, REPLAY)
    other = Replay(500, b"late", {})
    assert not (store.idempotency.finish(late, other) if end == "finish" else store.idempotency.abandon(late))
    if answered:
        assert store.idempotency.begin("k", "body") == REPLAY
    else:
        with pytest.raises(IdempotencyConflictError):
            store.idempotency.begin("k", "body")
        assert store.idempotency.finish(second, REPLAY)


@pytest.mark.slow
def test_an_answer_that_took_longer_than_its_reservation_is_kept_where_nobody_asked_again(store: Store) -> None:
    late = reserve(store, "k", seconds=1)
    time.sleep(1.1)
    assert store.idempotency.finish(late, REPLAY)
    assert store.idempotency.begin("k", "body") == REPLAY


# Events


def start(store: Store) -> None:
    store.machine.create("j", "selection", {"request": "{}"}, [Stage("s", "g", "cpu", "h", 1, 1, "{}")])


def test_events_are_read_from_any_place(store: Store) -> None:
    start(store)
    everything = store.events.read("j")
    assert [event.type for event in everything] == ["status", "stage"]
    assert store.events.read("j", limit=1) == everything[:1]
    assert store.events.read("j", after=everything[0].id) == everything[1:]
    assert store.events.read("j", after=everything[1].id) == []
    assert store.events.read("nobody") == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_events_are_followed_as_they_come(store: Store, redis_url: str, protocol: int) -> None:
    start(store)

    async def run() -> list[Event | None]:
        seen: list[Event | None] = []
        async with redis.asyncio.Redis.from_url(redis_url, protocol=protocol) as connection:
            async for event in follow(connection, store.prefix, "j", block_seconds=0.05):
                seen.append(event)
                if event is None and seen.count(None) == 1:
                    store.machine.cancel("j")
                if event is not None and event.data == {"status": "cancelled"}:
                    return seen
        raise AssertionError("the stream ended")

    seen = asyncio.run(asyncio.wait_for(run(), 20))
    assert [event for event in seen if event is not None] == store.events.read("j")
    assert None in seen


def test_a_moment_too_short_to_measure_is_not_for_ever(store: Store, redis_url: str) -> None:
    async def first() -> Event | None:
        async with redis.asyncio.Redis.from_url(redis_url) as connection:
            return await anext(follow(connection, store.prefix, "nobody", block_seconds=0.0001))

    assert asyncio.run(asyncio.wait_for(first(), 5)) is None


# Ids


def test_ids_say_what_they_name_and_sort_by_age() -> None:
    first = new_id("sel")
    time.sleep(0.002)
    second = new_id("sel")
    assert first < second
    assert first.startswith("sel_")
    assert len(first) == 24
    assert len({new_id("ds") for _ in range(10_000)}) == 10_000
