"""The async client is the sync one, word for word, but for `async` and `await`.

`python tests/unit/client/test_async_twin.py` writes the async modules anew from the sync ones.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "minirec" / "client"
MODULES = ("client", "datasets", "jobs", "selections", "training_jobs", "transport")
WORDS = [
    (r"\bself\._transport\.(get|copy|sleep)\(", r"await self._transport.\1("),
    (r"\bself\.(sleep|close|_send|retrieve|artifacts)\(", r"await self.\1("),
    (r"\bself\._jobs\.wait\(", "await self._jobs.wait("),
    (r"\bself\.http\.send\(", "await self.http.send("),
    (r"\bresponse\.(read|close)\(", r"await response.a\1("),
    (r"\bself\._transport\.http\.close\(", "await self._transport.http.aclose("),
    (r"^( +)yield from (.+)$", r"\1for row in \2:\n\1    yield row"),
    (r"\bfor (\w+) in (httpx2\.EventSource)", r"async for \1 in \2"),
    (r"\bfor (\w+) in response\.iter_", r"async for \1 in response.aiter_"),
    (r"\bwith self\.(\w+\.)?stream", r"async with self.\1stream"),
    (r"^    def (?!__init__|_attach|base_url|with_options)", "    async def "),
    (r"\b__(enter|exit)__", r"__a\1__"),
    (r"\bcontextmanager\b", "asynccontextmanager"),
    (r"\bimport Callable, Iterator, Mapping, Sequence\b", "import AsyncIterator, Callable, Mapping, Sequence"),
    (r"\bimport Callable, Iterator\b", "import AsyncIterator, Awaitable, Callable"),
    (r"\bimport Iterator\b", "import AsyncIterator"),
    (r"(?<!\w)Iterator\[", "AsyncIterator["),
    (r"Callable\[\[float\], None\] = time\.sleep", "Callable[[float], Awaitable[None]] = asyncio.sleep"),
    (r"^import time$", "import asyncio\nimport time"),
    (r"\b(httpx2\.)Client\b", r"\1AsyncClient"),
    (r"(?<!minirec\.client\.)\b(Datasets|Jobs|Selections|TrainingJobs|Transport|MiniRec)\b(?! service)", r"Async\1"),
    (r"minirec\.client\.(datasets|jobs|selections|training_jobs|transport)\b", r"minirec.client.async_\1"),
]


def twin(source: str) -> str:
    """The async module that belongs to a sync one."""
    for pattern, replacement in WORDS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    sort, layout = ["check", "--select", "I,F401", "--fix-only", "--quiet"], ["format"]
    for command in (sort, layout):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(FOLDER / "async_twin.py"), "-"]
        source = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout
    return source


@pytest.mark.parametrize("module", MODULES)
def test_the_async_module_is_the_sync_one_with_await(module: str) -> None:
    sync = (FOLDER / f"{module}.py").read_text()
    assert (FOLDER / f"async_{module}.py").read_text() == twin(sync)


if __name__ == "__main__":
    for name in MODULES:
        (FOLDER / f"async_{name}.py").write_text(twin((FOLDER / f"{name}.py").read_text()))
