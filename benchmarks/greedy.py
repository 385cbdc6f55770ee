"""The diverse choice: time, speed-up over a plain implementation, and whether both choose the same rows.

The plain implementation is the loop of the definition (docs/method.md, section 5) in float32: for each choice one
product of all rows with the last one chosen, the running minimum, the key, its largest entry. Where all of its choices
would take too long it makes the first ones only, and its time is extrapolated; the table says so. The choices are
compared with those of the same loop in float64, as many as it made.

    python benchmarks/greedy.py [--quick] [--threads 2] [--plain-choices 200]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple


class Case(NamedTuple):
    """N rows of d numbers, k to choose."""

    name: str
    n: int
    d: int
    k: int
    scores: str


CASES = [
    Case("the paper's pool", 10_748, 2_304, 1_024, "method"),
    Case("a large choice", 100_000, 384, 10_000, "method"),
    Case("a large pool", 1_000_000, 128, 1_024, "method"),
    Case("equal scores, clusters", 50_000, 384, 1_024, "constant"),
    Case("equal scores, no clusters", 50_000, 384, 1_024, "constant, scattered"),
]
QUICK = [Case(name, n // 10, d, k // 10, scores) for name, n, d, k, scores in CASES]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tenth of the rows and of the choices")
    options.add_argument("--threads", type=int, help="threads of the matrix products (default: the library's)")
    options.add_argument("--plain-choices", type=int, default=200, help="choices that the plain loop makes at most")
    options.add_argument("--repeats", type=int, default=3, help="the fastest of this many runs counts")
    given = options.parse_args()
    if given.threads:  # read when numpy is imported, which therefore happens in the functions below
        for library in ("OPENBLAS", "OMP", "MKL"):
            os.environ[f"{library}_NUM_THREADS"] = str(given.threads)

    print("| case | N x d | k | scores | lazy | plain | speed-up | same choices |")
    print("|---|---|---|---|---|---|---|---|")
    for case in QUICK if given.quick else CASES:
        print("| " + " | ".join(measure(case, given.plain_choices, given.repeats)) + " |", flush=True)


def measure(case: Case, plain_choices: int, repeats: int) -> Iterator[str]:
    """One row of the table."""
    import numpy as np

    from minirec.selection import select_diverse

    embeddings, scores = pool(case)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        lazy = select_diverse(embeddings, scores, case.k).indices
        seconds.append(time.perf_counter() - start)
    made = min(plain_choices, case.k)
    setup, each = min((plain(embeddings, scores, made, "float32")[1:] for _ in range(repeats)), key=sum)
    reference = plain(embeddings, scores, made, "float64")[0]
    yield case.name
    yield f"{case.n:,} x {case.d:,}"
    yield f"{case.k:,}"
    yield case.scores
    yield f"{min(seconds):.3f} s"
    yield f"{setup + each * case.k:.2f} s" + (f" (from {made} choices)" if made < case.k else "")
    yield f"{(setup + each * case.k) / min(seconds):.0f}x"
    yield f"{np.count_nonzero(lazy[:made] == reference)} of {made}"


def plain(embeddings: Any, scores: Any, k: int, dtype: str) -> tuple[Any, float, float]:
    """The definition, one product of all rows per choice: its choices, the seconds before the first and for each."""
    import numpy as np

    start = time.perf_counter()
    units = embeddings.astype(dtype)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    values = scores.astype(dtype)
    distances = np.full(len(units), 2, dtype=dtype)
    keys = values.copy()
    begin = time.perf_counter()
    chosen = []
    for _ in range(k):
        chosen.append(int(keys.argmax()))
        np.minimum(distances, 1 - units @ units[chosen[-1]], out=distances)
        np.multiply(distances, values, out=keys)
        keys[chosen] = -1
    end = time.perf_counter()
    return np.array(chosen), begin - start, (end - begin) / k


def pool(case: Case) -> tuple[Any, Any]:
    """Embeddings (N, d) and scores (N,) like a scoring's.

    Hidden states share a direction, fall into clusters and have a few strong dimensions. Of the scores L + R, L is
    near 0 for the half of the pool that is never solved, and R is a bell.
    """
    import numpy as np

    draw = np.random.default_rng(0)
    n, d = case.n, case.d
    scales = (1 + np.arange(d, dtype=np.float32)) ** -0.5
    centres = draw.standard_normal((200, d), dtype=np.float32)
    embeddings = draw.standard_normal((n, d), dtype=np.float32)
    if "scattered" not in case.scores:
        for begin in range(0, n, 65_536):
            part = embeddings[begin : begin + 65_536]
            part += 1 + 0.7 * centres[draw.integers(0, 200, len(part))]
            part *= scales
    if "constant" in case.scores:
        return embeddings, np.ones(n)
    rewards = np.where(draw.random(n) < 0.55, 1e-6 * draw.random(n), draw.beta(1, 6, n))
    learnable = np.exp(-((rewards - 0.5) ** 2) / (2 * rewards.std() ** 2))
    return embeddings, learnable / learnable.max() + np.clip(draw.normal(0.55, 0.15, n), 0, 1)


if __name__ == "__main__":
    main()
