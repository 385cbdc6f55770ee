"""Files that a worker checks, sent by the SDK: whole or in pieces, waited for, and refused with their faults."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from minirec.api_schemas import Dataset
from minirec.client import AsyncMiniRec, MiniRec
from minirec.client.errors import UnprocessableError
from tests.e2e.stack import Stack

ITEMS = [{"item_id": f"m{n}", "title": f"Film {n}"} for n in range(100)]
SAMPLES = 40_000


def samples(*, wrong: int | None = None) -> Iterator[dict[str, Any]]:
    """Some 5 MB of rows, or one of them without a target."""
    for n in range(SAMPLES):
        history = [f"m{(n + step) % 100}" for step in range(10)]
        yield {"id": f"s{n}", "history": history, "target": None if n == wrong else f"m{n % 100}"}


def test_a_large_file_is_waited_for_and_its_faults_are_the_same_error(stack: Stack) -> None:
    seen: list[Dataset] = []
    with MiniRec(base_url=stack.url, api_key=stack.key) as client:
        dataset = client.datasets.upload(samples(), ITEMS, on_check=seen.append)
        assert (dataset.status, dataset.n_samples, dataset.n_items) == ("ready", SAMPLES, 100)
        assert seen[0].status in ("processing", "ready")
        assert seen[-1] == dataset == client.datasets.wait(dataset)
        begun = client.datasets.upload(samples(wrong=777), ITEMS, wait=False)
        assert begun.status == "processing"
        with pytest.raises(UnprocessableError) as found:
            client.datasets.wait(begun, timeout=60)
        assert "target" in str(found.value)
        assert "778" in str(found.value)
        for each in (dataset, begun):
            client.datasets.delete(each)


def test_a_larger_one_is_sent_in_pieces(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("_async", "_sync"):
        monkeypatch.setattr(f"minirec.client.{kind}.datasets.IN_PARTS_BYTES", 1 << 20)
    monkeypatch.setattr("minirec.client.uploads.PART_BYTES", 700_000)
    progress: list[tuple[int, int]] = []

    async def send() -> Dataset:
        async with AsyncMiniRec(base_url=stack.url, api_key=stack.key) as client:
            return await client.datasets.upload(
                samples(), ITEMS, name="pieces", on_progress=lambda *done: progress.append(done)
            )

    in_pieces = asyncio.run(send())
    with MiniRec(base_url=stack.url, api_key=stack.key) as client:
        again = client.datasets.upload(samples(), ITEMS, name="pieces")
        assert in_pieces.content_hash == again.content_hash
        assert (in_pieces.n_samples, in_pieces.name) == (SAMPLES, "pieces")
        for each in (in_pieces, again):
            client.datasets.delete(each)
    sent = [done for done, _ in progress]
    assert len(sent) > 4
    assert sent == sorted(sent)
    assert sent[-1] == progress[-1][1]
