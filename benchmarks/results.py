"""What results take in Redis, and how fast their pages are: a selection from a million samples, and another from them.

    python benchmarks/results.py [--samples 1000000]

Rewards are made up: of 4 rollouts, of ranks in a catalogue of 10,000 items, as the recommendation head earns them, and
as worst case real numbers that never repeat. Everything else is what the stages write. Redis is a server of its own.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from fastapi.testclient import TestClient
from safetensors.numpy import save

from minirec.api_schemas import Dataset
from minirec.cli.embedded_redis import EmbeddedRedis, find_server
from minirec.selection import learnability
from minirec.service import results
from minirec.service.app import create_app
from minirec.settings import Settings
from minirec.store import Store, connect
from minirec.store.columns import Columns, as_shown, pack, shard_field
from minirec.store.machine import Outcome, Stage
from minirec.store.names import result_columns
from minirec.store.results import MEASURED, read_result

ROLLOUTS, SHARD, PICKED = 4, 64, 0.1
PAGES = 400


def rewards(samples: int, kind: str) -> np.ndarray:
    """Return made-up rewards `(samples, rollouts)`."""
    rng = np.random.default_rng(0)
    if kind == "continuous":
        return rng.random((samples, ROLLOUTS))
    ranks = np.minimum(rng.geometric(rng.beta(0.3, 4, (samples, 1)) + 1e-4, (samples, ROLLOUTS)), 10_000)
    return np.asarray(1 / np.log2(ranks + 1))


def chosen(measured: np.ndarray, seed: int) -> Columns:
    """Return the columns of a selection, beside rewards and hits."""
    rng, samples = np.random.default_rng(seed), len(measured)
    raw, learnable = (learnability(measured, normalize=flag) for flag in (False, True))
    agreement = rng.normal(0.1, 0.05, samples).astype(np.float32).astype(np.float64)
    picked = rng.permutation(samples)[: int(PICKED * samples)]
    ranks, positions, groups = (np.full(samples, -1, dtype=np.int32) for _ in range(3))
    ranks[picked] = np.arange(len(picked))
    positions[rng.permutation(picked)] = np.arange(len(picked))
    groups[picked] = positions[picked] // 64
    return {
        "row": np.arange(samples, dtype=np.int64),
        "learnability": as_shown(learnable),
        "learnability_raw": as_shown(raw),
        "score": as_shown(learnable + agreement),
        "gate": (measured.max(axis=1) < 0.3).astype(np.int8),
        "signal": np.ones(samples, dtype=np.int8),
        "picked_rank": ranks,
        "training_position": positions,
        "group": groups,
        "representativeness": as_shown(agreement),
    }


def as_before(measured: np.ndarray, columns: Columns) -> Columns:
    """Return the columns as release 0.1 stored them with every selection: float64, and rewards and hits again."""
    wide = {
        name: values.astype(np.float64) if values.dtype == np.float32 else values for name, values in columns.items()
    }
    return wide | {"rewards": measured, "hit": (measured > 0.3).astype(np.uint8)}


def store_scores(store: Store, measured: np.ndarray) -> None:
    """Write the scores as the shards' commits do."""
    pipe = store.redis.pipeline(transaction=False)
    for shard, start in enumerate(range(0, len(measured), SHARD)):
        part = measured[start : start + SHARD]
        packed = pack({"rewards": as_shown(part), "hit": (part > 0.3).astype(np.uint8)})
        pipe.hset(f"{store.prefix}columns:scores:x", shard_field(shard), packed)
    pipe.execute()


def store_result(store: Store, selection_id: str, columns: Columns) -> None:
    """Finish a selection with these columns."""
    stage = Stage("selecting", f"select:{selection_id}", "cpu", "select", 1, 1, "{}")
    request = {"dataset_id": "ds_00000000000000000000", "size": 0.1, "signals": "uploaded"}
    store.machine.create(selection_id, "selection", {"request": json.dumps(request)} | request_fields(), [stage])
    claim = store.machine.claim(f"select:{selection_id}", 0, worker="w", lease=600)
    assert claim is not None
    writes = store.columns.shards_of(result_columns(selection_id), columns)
    assert store.machine.commit(claim, progress=1, outcome=Outcome({MEASURED: "scores:x"}, writes=writes))


def request_fields() -> dict[str, str]:
    """Return the fields of a selection that its results are looked up by."""
    return {"dataset_id": "ds_00000000000000000000"}


def memory(store: Store) -> int:
    """Return what Redis uses."""
    return int(store.redis.info("memory")["used_memory"])


def pages(store: Store, settings: Settings, selection_id: str, samples: int, order: str) -> np.ndarray:
    """Return the seconds that pages of 100 take, at random places, through the service's route."""
    record = store.jobs.get(selection_id)
    ids = [f"user-{row // 50}-{row}" for row in range(samples)]
    started = time.perf_counter()
    result = results.Result("x", read_result(store, record), pa.array(ids, pa.string()))
    print(f"  unpacked in {time.perf_counter() - started:.2f} s")
    results._results.get((store, selection_id), lambda: result)
    seconds = []
    with TestClient(create_app(settings, store=store)) as client:
        for place in np.random.default_rng(0).integers(0, samples - 200, PAGES):
            started = time.perf_counter()
            query = {"limit": 100, "after": ids[place], "order": order}
            response = client.get(f"/v1/selections/{selection_id}/scores", params=query)
            seconds.append(time.perf_counter() - started)
            response.raise_for_status()
    return np.array(seconds)


@contextmanager
def server() -> Iterator[str]:
    """Run a Redis server of its own; yields its URL."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        redis = EmbeddedRedis(find_server(), Path(folder), free.getsockname()[1])
        free.close()
        process = subprocess.Popen(redis.command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        process.stdin.write(redis.configuration())
        process.stdin.close()
        while not redis.answers():
            time.sleep(0.05)
        try:
            yield redis.url
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    """Print bytes per sample, and milliseconds per page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1_000_000)
    samples = parser.parse_args().samples
    print("| rewards | scores | first selection | next | release 0.1: a selection | zstd alone |")
    print("|---|---|---|---|---|---|")
    for kind in ("ranks", "continuous"):
        with server() as url, tempfile.TemporaryDirectory() as blobs:
            settings = Settings(redis_url=url, blob_url=Path(blobs).as_uri())
            store = connect(settings, ring=lambda doorbells: None)
            store.datasets.put(
                Dataset(
                    id="ds_00000000000000000000",
                    created_at=0,
                    n_samples=samples,
                    n_items=1,
                    n_users=1,
                    splits={},
                    content_hash="x",
                )
            )
            measured = rewards(samples, kind)
            used = [memory(store)]
            store_scores(store, measured)
            used.append(memory(store))
            for number in (1, 2):
                store_result(store, f"sel_{number:020d}", chosen(measured, number))
                used.append(memory(store))
            scores, first, second = np.diff(used) / samples
            wide = save(as_before(measured, chosen(measured, 1)))
            zipped = len(pa.compress(wide, codec="zstd", asbytes=True))
            found = (scores, first, second, len(wide) / samples, zipped / samples)
            print(f"| {kind} | {' | '.join(f'{size:.1f}' for size in found)} |")
            if kind == "ranks":
                for order in ("pool", "rank"):
                    taken = pages(store, settings, f"sel_{1:020d}", samples, order) * 1000
                    middle, last = np.quantile(taken[1:], [0.5, 0.99])
                    print(f"  pages by {order}: first {taken[0]:.0f} ms, then median {middle:.1f}, p99 {last:.1f} ms")


if __name__ == "__main__":
    main()
