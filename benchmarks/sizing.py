"""What a deployment takes: memory of every process, at rest and under work, and what is kept in Redis and in files.

    python benchmarks/sizing.py [--samples 50000] [--scored 2000] [--repeats 20]

Runs `minirec up` in a folder of its own, with a tiny random model. Memory is the proportional set size: a page that
several processes share counts once, divided among them. Work is an upload that a worker checks, a selection that
embeds and scores, and reads of its results meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import ITEMS, write_samples
from benchmarks.under_load.stack import Stack, Table, stack
from minirec.client import MiniRec
from minirec.policy.tiny import build_tiny_model
from minirec.store import PREFIX

WORDS = {"API": ["uvicorn"], "janitor": ["minirec.service.janitor"], "Redis": ["valkey-server"]}
WORKERS = {"worker of `cpu`": "cpu", "worker of `gpu,train`": "gpu,train"}
SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 100,
    "rollouts": {"group_size": 4, "max_new_tokens": 8},
    "weights": {"gate": {"enabled": False}},
}
WIDTH = 32


def processes(running: Stack) -> dict[str, list[psutil.Process]]:
    """Return the processes of the stack by what they are."""
    found = {"supervisor (`minirec up`)": [running.process]}
    found |= {name: running.family(*words) for name, words in WORDS.items()}
    for name, queues in WORKERS.items():
        family = [process for process in running.family("minirec.worker.app") if queues in process.cmdline()]
        pids = {process.pid for process in family}
        found[f"{name}, parent"] = [process for process in family if process.ppid() not in pids]
        found[f"{name}, child"] = [process for process in family if process.ppid() in pids]
    return found


def memory(running: Stack) -> dict[str, float]:
    """Return the megabytes of each process with what it has started."""
    found = {}
    for name, members in processes(running).items():
        if not name.endswith(("parent", "child")) and not name.startswith("supervisor"):
            members = [one for member in members for one in (member, *member.children(recursive=True))]
        total = 0.0
        for process in members:
            with suppress(psutil.Error):
                total += process.memory_full_info().pss / 1e6
        found[name] = total
    return found


@contextmanager
def peaks(running: Stack) -> Iterator[dict[str, float]]:
    """Sample memory while a block runs; yields the largest of each process."""
    largest: dict[str, float] = defaultdict(float)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            for name, megabytes in memory(running).items():
                largest[name] = max(largest[name], megabytes)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()


class Keys:
    """What is in Redis, by kind of key."""

    def __init__(self, running: Stack) -> None:
        self._redis = redis.Redis.from_url((running.folder / "redis-url").read_text().strip())

    def sizes(self) -> dict[str, int]:
        """Return bytes by the first part of the key's name, events apart."""
        found: dict[str, int] = defaultdict(int)
        for key in self._redis.scan_iter(match=f"{PREFIX}*", count=1000):
            parts = key.decode().removeprefix(PREFIX).split(":")
            kind = "events" if parts[-1] == "events" else parts[0]
            found[kind] += self._redis.memory_usage(key, samples=0) or 0
        return found

    def events(self) -> int:
        """Return how many events there are."""
        return sum(self._redis.xlen(key) for key in self._redis.scan_iter(match=f"{PREFIX}job:*:events", count=1000))


def kilobytes(before: dict[str, int], after: dict[str, int], *kinds: str) -> float:
    """Return by how much some kinds of keys have grown; all kinds where none is named."""
    chosen = kinds or tuple(after)
    return sum(after.get(kind, 0) - before.get(kind, 0) for kind in chosen) / 1e3


def fill(running: Stack, client: MiniRec, folder: Path, given: argparse.Namespace) -> None:
    """Do some work and print what it takes."""
    table, keys, repeats = Table(), Keys(running), given.repeats
    time.sleep(10)  # Imports are over.
    rest = memory(running)
    rows, items = write_samples(folder, given.samples)
    small = folder / "small.jsonl"
    with rows.open() as file:
        few = [next(file) for _ in range(given.scored)]
    small.write_text("".join(few))
    with peaks(running) as largest:
        large = client.datasets.upload(samples=rows, items=items)
        scored = client.datasets.upload(samples=small, items=items)
        before_scores = keys.sizes()
        job = client.selections.create(dataset=scored.id, **SETTINGS)
        client.selections.wait(job.id)
        for _ in range(20):
            list(client.selections.scores(job.id))
    for name, megabytes in rest.items():
        table.add(name, f"{megabytes:.0f} MB", f"{largest[name]:.0f} MB")
    grown = kilobytes(before_scores, keys.sizes())
    table.add(f"first selection from {len(few):,} samples, all it adds to Redis", f"{grown:.0f} kB")

    empty = keys.sizes()
    for n in range(repeats):
        variant = folder / f"variant-{n}.jsonl"
        variant.write_text("".join(few[n * 10 : n * 10 + 10]))
        client.datasets.upload(samples=variant, items=items, name=f"dataset {n}")
    with_datasets = keys.sizes()
    table.add("a dataset", f"{kilobytes(empty, with_datasets) / repeats:.1f} kB")
    many_before, before = keys.events(), with_datasets
    for _ in range(repeats):
        # What is there already is not done again: what is added are the records.
        client.selections.wait(client.selections.create(dataset=scored.id, **SETTINGS).id)
    after, many = keys.sizes(), keys.events() - many_before
    table.add("a selection that repeats another", f"{kilobytes(before, after) / repeats:.1f} kB")
    columns = kilobytes(before, after, "columns") / repeats
    table.add("of it its columns", f"{columns:.1f} kB", f"{columns * 1e3 / len(few):.1f} bytes a sample")
    table.add("of it the job's record and stages", f"{kilobytes(before, after, 'job') / repeats:.1f} kB")
    per_event = kilobytes(before, after, "events") / many
    table.add(
        f"of it the events, {many / repeats:.0f} of them", f"{kilobytes(before, after, 'events') / repeats:.1f} kB"
    )
    table.add("an event", f"{per_event * 1e3:.0f} bytes")
    table.add("all of that, by kind of key", json.dumps({kind: after[kind] // 1000 for kind in sorted(after)}), "kB")
    counts = {"datasets": large.n_samples + len(few) + 10 * repeats, "catalogues": ITEMS, "scorings": len(few)}
    counts |= {"scorings, texts": len(few), "selections": len(few) * (repeats + 1)}
    blobs(running, table, counts)


def blobs(running: Stack, table: Table, counts: dict[str, int]) -> None:
    """Say how many bytes of files there are, by kind, for each of what `counts` has."""
    totals: dict[str, int] = defaultdict(int)
    root = running.folder / "blobs"
    for path in root.rglob("*"):
        if path.is_file():
            kind = path.relative_to(root).parts[0]
            totals[f"{kind}, texts" if "text" in path.name else kind] += path.stat().st_size
    for kind, size in sorted(totals.items()):
        each = f"{size / counts[kind]:.0f} bytes each" if kind in counts else ""
        table.add(f"files of {kind}", f"{size / 1e6:.2f} MB", each)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--scored", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    with stack() as running:
        build_tiny_model(
            running.folder / "models" / "tiny", texts=["Item number 1", "Item number 22"], hidden_size=WIDTH
        )
        files = running.folder / "files"
        files.mkdir()
        print("| what | at rest, or size | at work, at most |\n| --- | --- | --- |")
        with running.client() as client:
            fill(running, client, files, given)


if __name__ == "__main__":
    main()
