"""A running stack, as tests see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from minirec.client import MiniRec


@dataclass(frozen=True)
class Stack:
    """A running stack and files to give it."""

    url: str
    pid: int
    """Of `minirec up`."""
    data_dir: Path
    files: Path
    """Folder with `samples.jsonl`, `items.jsonl` and `prompts.jsonl`."""

    @property
    def key(self) -> str:
        """The stack's own key."""
        return (self.data_dir / "key").read_text().strip()

    def client(self) -> MiniRec:
        return MiniRec(base_url=self.url, api_key=self.key)

    def gpu_child(self) -> int:
        """The Celery child that computes: the process of the gpu queue whose parent is one, too."""
        family = [
            process for process in psutil.Process(self.pid).children(recursive=True) if "gpu,train" in process.cmdline()
        ]
        parents = {process.pid for process in family}
        children = [process.pid for process in family if process.ppid() in parents]
        assert len(children) == 1, f"expected one child, found {family}"
        return children[0]

    def log(self) -> str:
        """The end of every process's log, for a failing test's message."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.data_dir.glob("logs/*.log"))
