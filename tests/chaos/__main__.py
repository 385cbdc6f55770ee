"""`python -m tests.chaos --kills 200 --seed 1`: strike a working stack, and report what it survived."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import run


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print the report, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="minirec-chaos-") as folder:
        report = run(Path(folder), kills=given.kills, seed=given.seed, minutes=given.minutes, say=say)
    say(report.text())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
