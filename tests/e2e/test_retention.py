"""What is deleted is gone from the disk within seconds, and what was damaged is made again, by real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.e2e.test_selection import SETTINGS

pytestmark = pytest.mark.slow


def files(stack: Stack) -> set[str]:
    """Every file in the blob store."""
    root = stack.data_dir / "blobs"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def settled(stack: Stack) -> set[str]:
    """Every file, once the janitor has gone round four times and removed nothing that other tests have deleted."""
    deadline, left, since = time.monotonic() + 40, files(stack), time.monotonic()
    while time.monotonic() - since < 2:
        assert time.monotonic() < deadline, "files still come and go"
        time.sleep(0.2)
        if (now := files(stack)) != left:
            left, since = now, time.monotonic()
    return left


def wait_until_only(stack: Stack, expected: set[str]) -> None:
    """Wait for the janitor."""
    deadline = time.monotonic() + 40
    while (left := files(stack)) != expected:
        assert time.monotonic() < deadline, left - expected
        time.sleep(0.5)


def test_a_damaged_shard_is_made_again_and_all_is_deleted(stack: Stack) -> None:
    before = settled(stack)
    settings = SETTINGS | {"rollouts": {"group_size": 2, "max_new_tokens": 8, "seed": 9}}
    with stack.client() as client:
        dataset = client.datasets.upload(samples=stack.files / "samples.jsonl", items=stack.files / "items.jsonl")
        first = client.selections.wait(client.selections.create(dataset=dataset.id, **settings).id, timeout=120)
        shard = next(name for name in sorted(files(stack) - before) if "shard-" in name)
        path = Path(stack.data_dir / "blobs" / shard)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        second = client.selections.wait(client.selections.create(dataset=dataset.id, **settings).id, timeout=120)
        assert client.selections.subset(first.id).ids == client.selections.subset(second.id).ids
        told = [event.data["message"] for event in client.selections.events(second.id) if event.type == "warning"]
        assert any(shard in message for message in told)
        client.selections.delete(first.id)
        assert len(list(client.selections.scores(second.id))) == 48
        client.selections.delete(second.id)
        client.datasets.delete(dataset.id)
        wait_until_only(stack, before)
