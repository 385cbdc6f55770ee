"""Uploads checked and converted: rows per second beside a plain scan of the same file by polars, and peak memory.

Samples are made up: 3 to 15 history items of a catalogue of 10,000, some far more popular than others, with ratings and
times. The scan reads every value into columns and checks none of them. Each measurement is a process of its own; memory
is the most that it held at once, with the process that unpacks Parquet.

    python benchmarks/ingest.py [--samples 1000000] [--threads 1] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CATALOGUE = 10_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=1_000_000, help="rows; a quarter of them is measured as well")
    options.add_argument("--threads", type=int, default=1, help="of the scan")
    options.add_argument("--repeats", type=int, default=3, help="runs of each, in turn; the medians are printed")
    options.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        sys.stdout.write(json.dumps({"scan": scan, "ingest": ingest}[given.one[0]](Path(given.one[1]))))
        return
    print("| file | MB | samples | scan, s | ingest, s | samples/s | of the scan's rate | peak MB, scan | ingest |")
    print("|---|---|---|---|---|---|---|---|---|")
    for samples in (given.samples // 4, given.samples):
        with tempfile.TemporaryDirectory() as folder:
            for path in make(Path(folder), samples):
                print("| " + " | ".join(measure(path, samples, given.threads, given.repeats)) + " |", flush=True)


def make(folder: Path, samples: int) -> list[Path]:
    """Write a catalogue, and the same samples as JSONL and as Parquet."""
    import polars as pl

    rng = random.Random(0)
    popular = rng.choices(range(CATALOGUE), [1 / (item + 10) for item in range(CATALOGUE)], k=1 << 20)
    with (folder / "items.jsonl").open("w") as file:
        file.writelines(json.dumps({"item_id": str(i), "title": f"Title {i}"}) + "\n" for i in range(CATALOGUE))
    path = folder / "samples.jsonl"
    with path.open("w") as file:
        for number in range(samples):
            size, at = rng.randint(3, 15), rng.randint(10**9, 10**9 * 3 // 2)
            row = {
                "id": f"s{number}",
                "user_id": f"u{number // 10}",
                "history": [str(rng.choice(popular)) for _ in range(size)],
                "target": str(rng.choice(popular)),
                "timestamp": at,
                "ratings": [float(rng.randint(1, 5)) for _ in range(size)],
                "history_timestamps": [at - 1_000 * (size - place) for place in range(size)],
                "split": rng.choice(["train", "valid", "test"]),
            }
            file.write(json.dumps(row) + "\n")
    pl.scan_ndjson(path).sink_parquet(folder / "samples.parquet")
    return [path, folder / "samples.parquet"]


def measure(path: Path, samples: int, threads: int, repeats: int) -> list[str]:
    """Return one row of the table."""
    runs = [{kind: apart(kind, path, threads) for kind in ("scan", "ingest")} for _ in range(repeats)]
    seconds = {kind: median(run[kind]["seconds"] for run in runs) for kind in ("scan", "ingest")}
    memory = {kind: max(run[kind]["peak"] for run in runs) / 2**20 for kind in ("scan", "ingest")}
    ratio = median(run["scan"]["seconds"] / run["ingest"]["seconds"] for run in runs)
    return [
        path.suffix[1:],
        f"{path.stat().st_size / 1e6:.0f}",
        f"{samples:,}",
        f"{seconds['scan']:.2f}",
        f"{seconds['ingest']:.1f}",
        f"{samples / seconds['ingest']:,.0f}",
        f"{ratio:.2f}",
        f"{memory['scan']:.0f}",
        f"{memory['ingest']:.0f}",
    ]


def apart(kind: str, path: Path, threads: int) -> dict[str, float]:
    """Return what one process measures."""
    command = [sys.executable, __file__, "--one", kind, str(path)]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
    found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return {name: float(value) for name, value in json.loads(found.stdout).items()}


def scan(path: Path) -> dict[str, float]:
    """Read all of a file into columns."""
    import polars as pl

    begin = time.perf_counter()
    frame = (pl.scan_ndjson(path) if path.suffix == ".jsonl" else pl.scan_parquet(path)).collect()
    assert frame.width == 8
    return {"seconds": time.perf_counter() - begin, "peak": peak()}


def ingest(path: Path) -> dict[str, float]:
    """Check and convert a file as an upload is."""
    from minirec.data import ingest as ingesting

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ingesting.ingest(path, path.parent / "items.jsonl", Path(folder))
        seconds = time.perf_counter() - begin
    # What a child's memory counts as is at least what this process had when it began.
    return {"seconds": seconds, "peak": peak() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}


def peak() -> int:
    """Return the most bytes that this process held at once."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
