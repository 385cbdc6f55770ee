"""Write `minirec/client/_sync` from `minirec/client/_async`; with `--check`, say where it is out of date.

The rules delete words, so that a new method or class needs no rule. One rule is a convention of ours: the synchronous
client does at once what the asynchronous one does in a thread, `await in_thread(function, ...)`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1] / "minirec" / "client"
SOURCE, TARGET = CLIENT / "_async", CLIENT / "_sync"
HEADER = "# Generated from ../_async by scripts/unasync.py. Do not edit.\n"
RULES = [
    (r"await in_thread\(\s*([\w.]+)(?:,\s*)?", r"\1("),
    (r"\b(?:await|async) ", ""),
    (r"\bAwaitable\[([^\]]+)\]", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync(?=contextmanager\b)", ""),
    (r"\ba(?=(?:close|read|iter_\w+)\()", ""),
    (r"\b__a(?=(?:enter|exit|iter|next)__)", "__"),
    (r"\banyio\.(?=sleep\b)", "time."),
    (r"\b_async\b", "_sync"),
]
RUFF = (["check", "--select", "I,F401,UP028", "--unsafe-fixes", "--fix-only", "--quiet"], ["format"])
"""Imports sorted and unused ones removed, `for x in y: yield x` shortened, then laid out."""


def synchronous(source: str, path: Path) -> str:
    """Return the synchronous module that belongs to an asynchronous one; `path` is where it goes."""
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    source = HEADER + source
    for command in RUFF:
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"]
        source = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main(arguments: list[str]) -> int:
    """Write the modules, or compare them. Return the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = {TARGET / path.name: synchronous(path.read_text(), TARGET / path.name) for path in SOURCE.glob("*.py")}
    found = {path: path.read_text() for path in TARGET.glob("*.py")}
    stale = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    for path in stale:
        print(path.relative_to(CLIENT.parents[1]))
        if arguments:
            continue
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()
    if stale and arguments:
        print("out of date: edit minirec/client/_async, then run `python scripts/unasync.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
