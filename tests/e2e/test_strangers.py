"""Several tenants on a whole stack: keys from the command, turns of a real worker, and logs that give nothing away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from minirec.client import MiniRec
from minirec.client.errors import AuthenticationError, JobFailedError, NotFoundError, UnprocessableError
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

MARKER = "Zweiundvierzig-Marker"
"""Stands in prompts, answers, names, and in what is refused."""


def minirec(stack: Stack, *arguments: str) -> str:
    """Run a command as the user who runs the stack: it finds address and key by the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MINIREC_")}
    environment["MINIREC_DATA_DIR"] = str(stack.data_dir)
    command = [sys.executable, "-m", "minirec.cli.main", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log()}"
    return done.stdout


def tenant(stack: Stack, name: str) -> MiniRec:
    """A client of a tenant, whose key was made just now."""
    return MiniRec(
        base_url=stack.url, api_key=minirec(stack, "keys", "create", f"for {name}", "--tenant", name).strip()
    )


def test_keys_are_made_used_and_revoked_by_the_command(stack: Stack) -> None:
    key = minirec(stack, "keys", "create", "a reader", "--scope", "read", "--days", "1").strip()
    key_id = key.partition(".")[0]
    with MiniRec(base_url=stack.url, api_key=key) as client:
        assert list(client.datasets.list()) is not None
        rows = json.loads(minirec(stack, "keys", "list", "--json"))
        row = next(row for row in rows if row["id"] == key_id)
        assert (row["name"], row["scope"], row["tenant"]) == ("a reader", "read", "default")
        assert "key" not in row
        assert minirec(stack, "keys", "revoke", key_id) == f"{key_id} revoked\n"
        with pytest.raises(AuthenticationError, match="was revoked"):
            list(client.datasets.list())


def test_the_stack_answers_under_this_machine_s_names_only(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.key}"}
    for host, expected in (("localhost", 200), ("rebind.evil.example", 403)):
        found = httpx2.get(f"{stack.url}/v1/datasets", headers=headers | {"Host": host}).status_code
        assert found == expected, host
    assert httpx2.get(f"{stack.url}/v1/datasets").status_code == 401


def rewards(folder: Path, count: int = 48) -> Path:
    path = folder / "rewards.jsonl"
    rows = ({"sample_id": f"s{n:03d}", "reward": [n / count, 0.0]} for n in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    """The worker of the cpu queue holds its breath."""
    family = [
        process
        for process in psutil.Process(stack.pid).children(recursive=True)
        if "minirec.worker.app" in process.cmdline() and "cpu" in process.cmdline()
    ]
    assert len(family) == 2, family
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def test_one_tenant_s_many_selections_do_not_hold_up_another_s_one(stack: Stack, tmp_path: Path) -> None:
    files = rewards(tmp_path)
    with tenant(stack, "many") as many, tenant(stack, "few") as few:
        datasets = {}
        for client in (many, few):
            dataset = client.datasets.upload(samples=stack.files / "samples.jsonl", items=stack.files / "items.jsonl")
            client.datasets.upload_signals(dataset.id, rewards=files)
            datasets[client] = dataset

        def select(client: MiniRec) -> str:
            return client.selections.create(dataset=datasets[client].id, signals="uploaded", size=8).id

        with stopped(stack):
            queue = [select(many) for _ in range(100)]
            single = select(few)
        few.selections.wait(single, timeout=120)
        done = [many.selections.wait(job, timeout=240).finished_at for job in queue]
        end = few.selections.retrieve(single).finished_at
        assert end is not None
        earlier = sum(finished is not None and finished < end for finished in done)
        assert earlier <= 10, f"{earlier} of {len(queue)} selections of the other tenant ended before"
        assert datasets[many].content_hash != datasets[few].content_hash
        with pytest.raises(NotFoundError):
            few.selections.retrieve(queue[0])
    with stack.client() as operator:
        assert single not in {job.id for job in operator.selections.list()}


def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    rows: Any = (
        {"id": f"p{n}", "prompt": f"{MARKER} plus {n}?", "answer": str(n), "note": MARKER, "split": "train"}
        for n in range(16)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_log_shows_a_key_a_prompt_or_a_password(stack: Stack, tmp_path: Path) -> None:
    with tenant(stack, "quiet") as client:
        key = client._transport.config.api_key
        assert key is not None
        dataset = client.datasets.upload(prompts=prompts(tmp_path), name=MARKER)
        request: dict[str, Any] = {
            "dataset": dataset.id,
            "model": {"source": "local", "id": "tiny"},
            "size": 4,
            "rewards": [{"name": "digits"}],
            "rollouts": {"group_size": 2, "max_new_tokens": 8},
        }
        done = client.selections.wait(client.selections.create(**request).id, timeout=180)
        assert MARKER in str(next(iter(client.selections.subset_rows(done.id))).sample)
        request["model"] = {"source": "local", "id": "not-there"}
        with pytest.raises(JobFailedError):
            client.selections.wait(client.selections.create(**request).id, timeout=180)
        broken = tmp_path / "broken.jsonl"
        broken.write_text(json.dumps({"id": "a", "prompt": [MARKER], "answer": MARKER}) + f'\n{{"{MARKER}": \n')
        with pytest.raises(UnprocessableError):
            client.datasets.upload(prompts=broken)
        for given in (key[:-1] + "!", MARKER):
            headers = {"Authorization": f"Bearer {given}"}
            assert httpx2.get(f"{stack.url}/v1/datasets", headers=headers).status_code == 401
        client.datasets.delete(dataset.id)
    time.sleep(2)  # What the janitor says of it is a log line, too.
    worker = next(
        process for process in psutil.Process(stack.pid).children() if "minirec.worker.app" in process.cmdline()
    )
    password = worker.environ()["MINIREC_REDIS_URL"].partition("@")[0].rpartition(":")[2]
    secrets = {"prompt": MARKER, "key": key.partition(".")[2], "own key": stack.key, "password": password}
    logs = {path: path.read_text() for path in (*stack.data_dir.glob("logs/*.log"), stack.data_dir / "up.log")}
    assert len(logs) == 6
    assert any(key.partition(".")[0] in text for text in logs.values()), "who did it is there"
    for path, text in logs.items():
        for what, secret in secrets.items():
            assert secret not in text, f"{path.name} shows the {what}"
