"""The work that is under way while processes are struck: uploads, selections, training; and what must come of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from minirec.client import APIConnectionError, InternalServerError, MiniRec
from minirec.service.datasets import AT_ONCE_BYTES
from tests.builders import with_splits, write_files
from tests.chaos.stack import ChaosStack

JOB_SECONDS = 900.0
SELECTIONS = 3
REDIS_FORGETS = 3.0
"""Seconds: it flushes its file every second, and holds back what is written meanwhile for two at most."""
LARGE = 60_000
"""Samples of the largest upload."""
SELECTION: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "weights": {"gate": {"enabled": False}},
    "curriculum": {"group_size": 4},
}
MOVES = {
    ("queued", "running"),
    ("queued", "succeeded"),
    ("running", "succeeded"),
}
"""What a job may do that nobody cancels, and that must not fail."""


@dataclass
class Load:
    """Rounds of the same work, each from an empty cache: what it makes is deleted, and must come out alike."""

    stack: ChaosStack
    files: Path
    small: bool = False
    """One selection and half of the updates."""
    expected: dict[str, str] | None = None
    """Name of each result, and its digest in the undisturbed round."""
    stop: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)
    rounds: int = 0
    jobs: int = 0
    events: int = 0
    uploads: int = 0
    lost_workers: int = 0

    def run(self) -> None:
        """Work round after round until asked to stop; the last one is done to its end."""
        while not self.stop.is_set() and not self.faults:
            found = self.round()
            if self.expected is None:
                self.expected = found
            self.faults += [
                f"round {self.rounds}: {name} is not that of the undisturbed run"
                for name in self.expected
                if found.get(name) != self.expected[name]
            ]
            self.rounds += 1

    def round(self) -> dict[str, str]:
        """Do it all once; return the digest of every result."""
        found: dict[str, str] = {}
        with self.stack.client() as client:
            dataset = client.datasets.upload(samples=self.files / "samples.jsonl", items=self.files / "items.jsonl")
            found["dataset"] = dataset.content_hash
            tasks: list[Callable[[], None]] = [
                partial(self._select, dataset.id, seed, found) for seed in range(1 if self.small else SELECTIONS)
            ]
            tasks += [partial(self._train, dataset.id, found), partial(self._upload, found)]
            threads = [threading.Thread(target=self._guarded, args=(task,)) for task in tasks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            client.datasets.delete(dataset.id)
        return found

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self.faults.append(f"round {self.rounds}: {type(error).__name__}: {error}")

    def _select(self, dataset: str, seed: int, found: dict[str, str]) -> None:
        with self.stack.client() as client:
            rollouts = {"group_size": 4, "max_new_tokens": 64, "seed": seed}
            job = client.selections.create(dataset=dataset, **SELECTION | {"rollouts": rollouts})
            self._follow(client, client.selections, job.id)
            found[f"picks {seed}"] = digest(again(lambda: client.selections.subset(job.id).ids))
            scores = again(lambda: [score.model_dump(mode="json") for score in client.selections.scores(job.id)])
            found[f"scores {seed}"] = digest(scores)
            client.selections.delete(job.id)

    def _train(self, dataset: str, found: dict[str, str]) -> None:
        with self.stack.client() as client, tempfile.TemporaryDirectory() as folder:
            ids = [f"s{n:03d}" for n in range(24)]
            job = client.training_jobs.create(
                dataset=dataset,
                ids=ids,
                model=SELECTION["model"],
                args={"updates": 5 if self.small else 10, "grpo": {"batch_size": 4}},
            )
            self._follow(client, client.training_jobs, job.id)
            again(lambda: client.training_jobs.download(job.id, folder))
            adapter = (Path(folder) / "adapter_model.safetensors").read_bytes()
            found["adapter"] = hashlib.sha256(adapter).hexdigest()
            client.training_jobs.delete(job.id)

    def _upload(self, found: dict[str, str]) -> None:
        """Upload other rows again and again while the jobs run; what was acknowledged is there."""
        with self.stack.client() as client, tempfile.TemporaryDirectory() as folder:
            samples, items = write_files(Path(folder), samples=3000, items=200, seed=1)
            for n in range(4):
                if n == 3:  # Large enough that a worker checks it.
                    samples, items = write_files(Path(folder), samples=LARGE, items=200, seed=1)
                    assert samples.stat().st_size > AT_ONCE_BYTES
                dataset = client.datasets.upload(samples=samples, items=items, name=f"upload {n}")
                stored = client.datasets.retrieve(dataset.id)
                found[f"upload {n}"] = digest([stored.content_hash, stored.n_samples])
                self.uploads += 1
                client.datasets.delete(dataset.id)

    def _follow(self, client: MiniRec, jobs: Any, job: str) -> None:
        """Follow a job's events to its end, and compare them with what is stored."""
        seen = list(self._live(jobs, job))
        record = jobs.wait(job, timeout=JOB_SECONDS)
        stored = self._stored(client, f"/v1/{'selections' if job.startswith('sel_') else 'training_jobs'}/{job}/events")
        ids = [event["id"] for event in stored]
        told = [event.id for event in seen]
        lost = [event for event in told if event not in ids]
        if [event for event in told if event in ids] != ids or not all(map(self._was_redis_s_last, lost)):
            self.faults.append(f"{job}: {told} were seen live, and {ids} are stored")
        if sorted(ids, key=order) != ids or len(set(ids)) != len(ids):
            self.faults.append(f"{job}: ids of events do not rise")
        statuses = [event["data"]["status"] for event in stored if event["type"] == "status"]
        wrong = [move for move in zip(statuses, statuses[1:], strict=False) if move not in MOVES]
        if wrong or statuses[-1] != "succeeded":
            self.faults.append(f"{job}: its status went {' > '.join(statuses)}")
        self.jobs += 1
        self.events += len(ids)
        self.lost_workers += record.lost_workers

    def _was_redis_s_last(self, event: str) -> bool:
        """Tell whether an event was written in the seconds that a Redis which is killed may forget."""
        written = order(event)[0] / 1000
        return any(0 <= killed - written <= REDIS_FORGETS for killed in self.stack.redis_killed)

    @staticmethod
    def _live(jobs: Any, job: str) -> list[Any]:
        seen: list[Any] = []
        while True:
            try:
                for event in jobs.events(job, after=seen[-1].id if seen else None):
                    seen.append(event)
                return seen
            except (APIConnectionError, InternalServerError) as error:
                # A client gives up after so many failures in a row; strikes come faster than that.
                if isinstance(error, InternalServerError) and error.status_code != 503:
                    raise

    def _stored(self, client: MiniRec, path: str) -> list[dict[str, Any]]:
        import httpx2

        headers = {"Authorization": f"Bearer {(self.stack.folder / 'key').read_text().strip()}"}
        events: list[dict[str, Any]] = []
        after = ""
        while True:

            def page(after: str = after) -> Any:
                query = f"?limit=100{after}"
                answer = httpx2.get(self.stack.url + path + query, headers=headers, timeout=30, trust_env=False)
                answer.raise_for_status()
                return answer.json()

            found = again(page)
            events += found["data"]
            if not found["has_more"]:
                return events
            after = f"&after={found['next_after']}"


def again(ask: Callable[[], Any], *, times: int = 60) -> Any:
    """Ask until there is an answer: the service may be away, and says so."""
    import time

    import httpx2

    for left in reversed(range(times)):
        try:
            return ask()
        except (httpx2.HTTPStatusError, InternalServerError) as error:
            status = error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else error.status_code
            if status != 503 or not left:
                raise
        except (httpx2.TransportError, APIConnectionError):
            if not left:
                raise
        time.sleep(1)


def digest(value: Any) -> str:
    """Return a hash of something that JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def order(event_id: str) -> tuple[int, ...]:
    """Return an event's place in time."""
    return tuple(map(int, event_id.split("-")))


def prepare(folder: Path) -> Path:
    """Write the rows of a run into a folder."""
    folder.mkdir()
    samples, _ = write_files(folder)
    with_splits(samples)
    shutil.copy(samples, folder / "rows.jsonl")
    return folder
