"""What a deployment takes: memory of each process at rest and at work, and what datasets and jobs take in Redis.

    python benchmarks/sizing.py [--no-model]

`minirec up` in a folder of its own. At work: a selection of 64 samples with SmolLM2-135M (93 MB to download the first
time), then of 10,000 from 200,000 with uploaded vectors. Memory is proportional set size: pages that processes share
are divided among them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import write_samples, write_signals
from benchmarks.under_load.stack import Stack, stack
from minirec.client import MiniRec
from minirec.data.wheels import cache_dir
from minirec.policy.smollm2 import NAME, fetch_smollm2

MANY, SAMPLES, LARGE = 200, 64, 200_000


class Watch:
    """The memory of a stack's processes by name, and the most of it while something runs."""

    def __init__(self, running: Stack) -> None:
        self._running = running
        self.peaks: dict[str, int] = {}

    def now(self) -> dict[str, int]:
        """Return the bytes that each kind of process holds."""
        found: dict[str, int] = {}
        for process in [self._running.process, *self._running.process.children(recursive=True)]:
            try:
                name = role(process)
                found[name] = found.get(name, 0) + process.memory_full_info().pss
            except psutil.Error:
                continue
        return found

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look every tenth of a second."""
        self.peaks, over = self.now(), threading.Event()

        def look() -> None:
            while not over.wait(0.1):
                for name, size in self.now().items():
                    self.peaks[name] = max(size, self.peaks.get(name, 0))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def role(process: psutil.Process) -> str:
    """Return what a process of the stack is."""
    words = " ".join(process.cmdline())
    if "minirec.worker.app" in words:
        queue = "gpu,train" if "gpu,train" in words else "cpu"
        parent = process.parent()
        child = parent is not None and "minirec.worker.app" in " ".join(parent.cmdline())
        return f"worker of {queue}, {'child' if child else 'parent'}"
    names = {"uvicorn": "service", "janitor": "janitor", "-server": "Redis", "minirec.cli.main": "`minirec up` itself"}
    return next((name for word, name in names.items() if word in words), "others")


def per_piece(connection: redis.Redis, count: int, make: Callable[[int], Any]) -> float:
    """Return the bytes of Redis that each of so many pieces takes."""
    before = used(connection)
    for number in range(count):
        make(number)
    return (used(connection) - before) / count


def used(connection: redis.Redis) -> int:
    return int(connection.info("memory")["used_memory"])


def upload(client: MiniRec, number: int, *, samples: int = 100) -> str:
    """Upload a small dataset that is no other's."""
    items = [{"item_id": str(n), "title": f"T{n} of {number}"} for n in range(10)]
    rows = [{"id": str(n), "history": ["0", "1"], "target": "2"} for n in range(samples)]
    return client.datasets.upload(samples=rows, items=items).id


def in_redis(running: Stack) -> None:
    """Print what datasets and jobs take in Redis."""
    url = (running.folder / "redis-url").read_text().strip()
    with running.client() as client, redis.Redis.from_url(url) as connection:
        first = upload(client, -1)
        rewards = [{"sample_id": str(n), "reward": [0.0, n / 100]} for n in range(100)]
        client.datasets.upload_signals(first, rewards=rewards)

        def select(_: int = 0) -> None:
            client.selections.wait(client.selections.create(dataset=first, size=10, signals="uploaded").id)

        select()
        print("\n| in Redis | bytes |\n| --- | --- |")
        print(f"| a dataset's record | {per_piece(connection, MANY, lambda n: upload(client, n)):,.0f} |")
        size = per_piece(connection, MANY, select)
        print(f"| a finished selection of 10 from 100, with its events | {size:,.0f} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--no-model", action="store_true", help="leave the selection with SmolLM2-135M out")
    given = options.parse_args()
    with stack() as running, tempfile.TemporaryDirectory() as name, running.client() as client:
        watch, folder = Watch(running), Path(name)
        columns = {"at rest": watch.now()}
        if not given.no_model:
            shutil.copytree(fetch_smollm2(cache_dir() / "models"), running.folder / "models" / NAME)
            dataset = upload(client, 0, samples=SAMPLES)
            with watch.during():
                job = client.selections.create(
                    dataset=dataset,
                    model={"source": "local", "id": NAME},
                    size=16,
                    rollouts={"max_new_tokens": 16},
                    weights={"gate": {"enabled": False}},
                )
                client.selections.wait(job.id)
            columns[f"{SAMPLES} samples with SmolLM2-135M"] = watch.peaks
        rows, items = write_samples(folder, LARGE)
        with watch.during():
            dataset = client.datasets.upload(samples=rows, items=items).id
            client.datasets.upload_signals(dataset, **write_signals(folder, LARGE))
            client.selections.wait(client.selections.create(dataset=dataset, size=10_000, signals="uploaded").id)
        columns[f"{LARGE:,} samples with uploaded vectors"] = watch.peaks
        print("| MB | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
        for process in sorted(columns["at rest"]):
            sizes = (f"{measured.get(process, 0) / 1e6:,.0f}" for measured in columns.values())
            print(f"| {process} | " + " | ".join(sizes) + " |", flush=True)
        in_redis(running)


if __name__ == "__main__":
    main()
