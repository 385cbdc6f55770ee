"""Simulated workers for `load.py`: they claim and commit real units, and sleep in between."""

from __future__ import annotations

import threading
import time

import redis

from minirec.store.ids import new_id
from minirec.store.machine import Doorbell, Machine, Outcome, Stage

PREFIX = "load:"


def shards_per_second(connection: redis.Redis, *, workers: int, sleep: float, units: int) -> float:
    """Return how many units a second are claimed, slept through and committed.

    Args:
        connection: To the Redis that is measured.
        workers: Threads, each a worker.
        sleep: Seconds that a unit takes.
        units: How many there are.
    """
    machine = Machine(connection, prefix=PREFIX, ring=lambda _: None)
    group = new_id("group")
    machine.create(new_id("sel"), "selection", {}, [Stage("scoring", group, "cpu", "score", units, units, "{}")])

    def work(name: str) -> None:
        while claim := machine.claim_next(Doorbell("cpu", group, 0), worker=name, lease=60):
            time.sleep(sleep)
            machine.commit(claim, progress=1, outcome=Outcome())

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(workers)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    connection.delete(*connection.keys(f"{PREFIX}*"))
    return units / took
