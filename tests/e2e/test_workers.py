"""Two workers of one queue choose what one chose."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
import redis

from minirec.cli.data_folder import DataFolder
from minirec.cli.processes import WORKER, environment, with_this_python
from minirec.client import MiniRec
from minirec.store import PREFIX
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

# Long answers, so that one worker is not done before the other has begun.
ROLLOUTS: dict[str, Any] = {"group_size": 4, "max_new_tokens": 256, "seed": 11}
SETTINGS: dict[str, Any] = {
    "model": {"source": "local", "id": "tiny"},
    "size": 12,
    "weights": {"gate": {"enabled": False}},
    "curriculum": {"group_size": 4},
}


@pytest.fixture
def second_worker(stack: Stack) -> Iterator[str]:
    """Start another worker of the gpu queue; yields the address of their Redis, once it has reported."""
    folder = DataFolder(stack.data_dir)
    url = folder.redis_url_file.read_text().strip()
    variables = environment(os.environ, folder, folder.models, url)
    command = [*with_this_python(WORKER), "--without-mingle"]
    command[command.index("gpu@%h")] = "second@%h"
    with (stack.data_dir / "logs" / "second.log").open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 90
        with httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}) as http:
            while sum("gpu" in worker["queues"] for worker in http.get("/v1/workers").json()["data"]) < 2:
                assert process.poll() is None, stack.log()
                assert time.monotonic() < deadline, stack.log()
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def choose(client: MiniRec, dataset: str, ndcg_k: int) -> tuple[list[str], dict[str, Any]]:
    """Return the picks in their order, and all rewards. K beyond the catalogue changes none, but is scored anew."""
    job = client.selections.create(dataset=dataset, rollouts=ROLLOUTS | {"ndcg_k": ndcg_k}, **SETTINGS)
    done = client.selections.wait(job.id, timeout=180)
    assert done.counts.cached == 0
    return client.selections.subset(job.id).ids, {one.id: one.rewards for one in client.selections.scores(job.id)}


def test_two_workers_pick_what_one_picked(stack: Stack, request: pytest.FixtureRequest) -> None:
    with stack.client() as client:
        files = stack.files
        dataset = client.datasets.upload(samples=files / "samples.jsonl", items=files / "items.jsonl").id
        alone = choose(client, dataset, 990)
        connection = redis.Redis.from_url(request.getfixturevalue("second_worker"), decode_responses=True)
        before = holders(connection)
        assert choose(client, dataset, 991) == alone
        (both,) = [workers for key, workers in holders(connection).items() if key not in before]
        assert len(both) == 2, both
        connection.close()


def holders(connection: redis.Redis) -> dict[str, set[str]]:
    """Return who did the shards of each group that was scored."""
    found = {}
    for key in connection.scan_iter(match=f"{PREFIX}group:score:*:units"):
        units = cast("dict[str, str]", connection.hgetall(key))
        found[str(key)] = {worker for name, worker in units.items() if name.startswith("w")}
    return found
