"""How the service bears load: clients that wait, a large upload, a million scores, thousands of jobs, many workers.

    python benchmarks/load.py [--samples 1000000] [--clients 500] [--jobs 2000]

Everything runs on this machine: `minirec up` in a folder of its own, and the clients beside it. Where the aim is a
ratio, its baseline is measured in the same run. Workers are simulated only in the last part, which asks what the state
machine costs: they claim and commit real units in the stack's Redis, and sleep in between.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.under_load.stack import Memory, Stack, Table, stack
from benchmarks.under_load.workers import shards_per_second
from minirec.client import MiniRec
from minirec.policy.tiny import build_tiny_model

ITEMS, GROUP, DIMENSIONS, PICKS = 10_000, 4, 64, 10_000
PROBES_PER_SECOND = 20.0


def write_samples(folder: Path, samples: int) -> tuple[Path, Path]:
    """Write made-up interactions, as JSONL."""
    draw = np.random.default_rng(0)
    items, rows = folder / "items.jsonl", folder / "samples.jsonl"
    items.write_text("".join(f'{{"item_id": "i{n}", "title": "Item number {n}"}}\n' for n in range(ITEMS)))
    with rows.open("w") as file:
        for start in range(0, samples, 10_000):
            histories = draw.integers(0, ITEMS, (min(10_000, samples - start), 8))
            for row, (target, *history) in enumerate(histories.tolist(), start):
                seen = ", ".join(f'"i{item}"' for item in history)
                file.write(
                    f'{{"id": "s{row}", "history": [{seen}], "target": "i{target}", "user_id": "u{row // 9}"}}\n'
                )
    return rows, items


def write_signals(folder: Path, samples: int) -> dict[str, Any]:
    """Write made-up rewards, vectors and embeddings."""
    draw = np.random.default_rng(1)
    ranks = np.minimum(draw.geometric(draw.beta(0.3, 4, (samples, 1)) + 1e-4, (samples, GROUP)), ITEMS)
    flat = pa.array((1 / np.log2(ranks + 1)).ravel())
    rewards = pa.ListArray.from_arrays(pa.array(np.arange(0, flat.__len__() + 1, GROUP, dtype=np.int32)), flat)
    ids = pa.array([f"s{row}" for row in range(samples)])
    paths = {"rewards": folder / "rewards.parquet"}
    pq.write_table(pa.table({"sample_id": ids, "reward": rewards}), paths["rewards"])
    for name in ("vectors", "embeddings"):
        paths[name] = folder / f"{name}.npy"
        np.save(paths[name], draw.standard_normal((samples, DIMENSIONS), dtype=np.float32).astype(np.float16))
    return paths


def seconds(what: Callable[[], Any]) -> float:
    """Return how long something takes."""
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def quantiles(values: Sequence[float]) -> str:
    """Return median and 99th percentile, in words."""
    middle, high = np.quantile(values, [0.5, 0.99]) * 1e3
    return f"p50 {middle:.0f} ms, p99 {high:.0f} ms ({len(values)} requests)"


async def wait_and_probe(
    running: Stack, events: str, paths: Sequence[str], clients: int, work: Callable[[], float]
) -> tuple[float, list[list[float]]]:
    """Hold many event streams open, do some work, and ask for some paths at a steady pace meanwhile.

    Returns:
        What the work returns, and the seconds of every request, per path.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx2.AsyncClient(
        base_url=running.url, headers=running.headers, limits=limits, timeout=120, trust_env=False
    ) as http:
        opened = 0

        async def follow() -> None:
            nonlocal opened
            async with http.stream("GET", events, headers={"Accept": "text/event-stream"}) as response:
                response.raise_for_status()
                opened += 1
                async for _ in response.aiter_bytes():
                    pass

        async def probe(path: str, found: list[float]) -> None:
            due = time.perf_counter()
            while not working.done():
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                begun = time.perf_counter()
                (await http.get(path)).raise_for_status()
                found.append(time.perf_counter() - begun)
                due += 1 / PROBES_PER_SECOND

        followers = [asyncio.create_task(follow()) for _ in range(clients)]
        while opened < clients:
            for follower in followers:
                if follower.done():
                    follower.result()
            await asyncio.sleep(0.05)
        working = asyncio.create_task(asyncio.to_thread(work))
        found: list[list[float]] = [[] for _ in paths]
        await asyncio.gather(*(probe(path, seen) for path, seen in zip(paths, found, strict=True)))
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        return await working, found


def waiting_clients(running: Stack, table: Table, folder: Path, samples: int, clients: int) -> str:
    """Ask for status while clients wait and a large upload runs; return the id of the dataset."""
    rows, items = write_samples(folder, samples)
    scan = seconds(lambda: _scan(rows))
    build_tiny_model(running.folder / "models" / "tiny", texts=["T0", "T1", "T2"])
    # The workers that check uploads go on; the job waits for those that compute.
    with running.client() as client, running.without_workers("gpu,train"):
        small = _small_dataset(client)
        job = client.selections.create(dataset=small, size=2, model={"source": "local", "id": "tiny"}).id
        while client.selections.retrieve(job).stage != "embedding_catalogue":
            time.sleep(0.2)
        paths = [f"/v1/selections/{job}", "/health/live"]
        for busy in (False, True):
            made: list[str] = []

            def work(busy: bool = busy, made: list[str] = made) -> None:
                if busy:
                    made.append(client.datasets.upload(samples=rows, items=items).id)
                else:
                    time.sleep(10)

            with Memory(running) as memory:
                waiting = wait_and_probe(running, f"{paths[0]}/events", paths, clients, partial(seconds, work))
                took, (status, live) = asyncio.run(waiting)
            when = f"{clients} streams open" + (f", {samples:,} rows uploaded" if busy else "")
            table.add(f"status of a job, {when}", quantiles(status), "p99 < 100 ms")
            table.add(f"/health/live, {when}", quantiles(live), "p99 < 100 ms")
        size = rows.stat().st_size / 1e6
        table.add(
            f"that upload ({size:.0f} MB of JSONL)", f"{took:.1f} s; polars scans it in {scan:.1f} s", "twice that"
        )
        table.add("memory of the API during the upload", str(memory), "constant")
    return made[0]


def _scan(rows: Path) -> None:
    import polars

    polars.scan_ndjson(rows).select(polars.len(), polars.col("history").list.len().sum()).collect()


def _small_dataset(client: MiniRec) -> str:
    items = [{"item_id": str(n), "title": f"T{n}"} for n in range(3)]
    samples = [{"id": str(n), "history": ["0", "1"], "target": "2"} for n in range(4)]
    dataset = client.datasets.upload(samples=samples, items=items).id
    client.datasets.upload_signals(dataset, rewards=[{"sample_id": str(n), "reward": [0.0, n / 4]} for n in range(4)])
    return dataset


def large_selection(running: Stack, table: Table, folder: Path, dataset: str, samples: int) -> None:
    """Choose from many samples with arrays, choose again, and read pages of scores."""
    signals = write_signals(folder, samples)
    with running.client() as client:
        with Memory(running) as memory:
            took = seconds(lambda: client.datasets.upload_signals(dataset, **signals))
        size = sum(path.stat().st_size for path in signals.values()) / 1e6
        what = f"rewards, vectors and embeddings of {samples:,} samples ({size:.0f} MB)"
        table.add(f"upload of {what}", f"{took:.1f} s; memory of the API {memory}", "constant memory")
        picks = min(PICKS, samples // 10)
        for name, alpha in (("first selection", 0.0), ("selection again, other weights", 0.5)):
            made: list[str] = []

            def choose(alpha: float = alpha, made: list[str] = made) -> None:
                weights = {"choice": "diverse", "alpha": alpha}
                job = client.selections.create(dataset=dataset, size=picks, signals="uploaded", weights=weights)
                made.append(client.selections.wait(job.id).id)

            table.add(f"{name} of {picks:,} from {samples:,}", f"{seconds(choose):.1f} s", "< 5 s")
        pages = []
        with running.http() as http:
            path = f"/v1/selections/{made[0]}/scores?limit=100"
            first = seconds(lambda: http.get(path).raise_for_status())
            for row in np.random.default_rng(2).integers(0, samples - 100, 300):
                pages.append(seconds(partial(_fetch, http, f"{path}&after=s{row}")))
        table.add(f"page of 100 of {samples:,} scores", f"first {first:.1f} s, then {quantiles(pages)}", "p99 < 100 ms")


def _fetch(http: httpx2.Client, path: str) -> None:
    http.get(path).raise_for_status()


def many_jobs(running: Stack, table: Table, jobs: int) -> None:
    """Start many small selections, list them, and let another tenant start one behind them."""
    with running.client() as client, running.http() as http:
        small = _small_dataset(client)
        body = {"dataset_id": small, "size": 2, "signals": "uploaded"}
        key = http.post("/v1/keys", json={"name": "other", "scope": "write", "tenant": "other"}).raise_for_status()
        with running.without_workers():
            took = seconds(lambda: [http.post("/v1/selections", json=body).raise_for_status() for _ in range(jobs)])
            table.add(f"{jobs:,} selections started, one after the other", f"{took / jobs * 1e3:.1f} ms each")
            pages = [seconds(partial(_fetch, http, "/v1/selections?limit=100")) for _ in range(50)]
            table.add(f"page of 100 of {jobs:,} jobs", quantiles(pages), "p99 < 100 ms")
            listed = seconds(lambda: list(client.selections.list()))
            table.add(f"all {jobs:,} jobs listed", f"{listed:.1f} s")
        with MiniRec(base_url=running.url, api_key=key.json()["key"]) as other:
            theirs = _small_dataset(other)
            begun = time.perf_counter()
            other.selections.wait(other.selections.create(dataset=theirs, size=2, signals="uploaded").id)
            took = time.perf_counter() - begun
            table.add(f"small selection of another tenant behind these {jobs:,}", f"{took:.1f} s", "a few seconds")


def state_machine(running: Stack, table: Table) -> None:
    """Claim and commit units with ever more simulated workers."""
    url = (running.folder / "redis-url").read_text().strip()
    with redis.Redis.from_url(url) as connection:
        alone = shards_per_second(connection, workers=1, sleep=0.0, units=2000)
        table.add("claim to commit of a shard that does nothing", f"{1e3 / alone:.2f} ms", "< 5 ms")
    base = 0.0
    for workers in (1, 8, 64):
        with redis.Redis.from_url(url) as connection:
            rate = shards_per_second(connection, workers=workers, sleep=0.5, units=12 * workers)
        base = base or rate
        table.add(
            f"{workers} simulated workers, shards of 0.5 s",
            f"{rate:.1f} shards/s, {rate / base / workers:.0%} of linear",
            "linear",
        )


def main() -> None:
    """Run all parts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=1_000_000)
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--jobs", type=int, default=2_000)
    given = options.parse_args()
    table = Table()
    print("| what | measured | aim |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, stack() as running:
        folder = Path(name)
        state_machine(running, table)
        dataset = waiting_clients(running, table, folder, given.samples, given.clients)
        large_selection(running, table, folder, dataset, given.samples)
        many_jobs(running, table, given.jobs)


if __name__ == "__main__":
    main()
