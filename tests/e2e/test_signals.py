"""Rewards from elsewhere, through the whole stack: no model, no GPU; the published numbers come back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from minirec.client import MiniRec
from tests.e2e.stack import Stack

pytestmark = pytest.mark.slow

PUBLISHED = 10_748


def test_the_published_rewards_give_the_published_learnability(stack: Stack, shared: Path, tmp_path: Path) -> None:
    golden = {}
    with gzip.open(shared / "golden" / "scores.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            golden[str(row["sample_id"])] = row["difficulty"]
    items, samples = tmp_path / "items.jsonl", tmp_path / "samples.jsonl"
    items.write_text('{"item_id": "a", "title": "A"}\n{"item_id": "b", "title": "B"}\n')
    samples.write_text("".join(f'{{"id": "{n}", "history": ["a"], "target": "b"}}\n' for n in range(PUBLISHED)))
    with stack.client() as client:
        dataset = client.datasets.upload(samples=samples, items=items)
        with open(shared / "golden" / "rewards.jsonl.gz", "rb") as file:
            url = f"{stack.url}/v1/datasets/{dataset.id}/signals"
            files = {"rewards": ("rewards.jsonl.gz", file)}
            headers = {"Authorization": f"Bearer {stack.key}"}
            response = httpx2.post(url, files=files, headers=headers, timeout=120)
        assert response.status_code == 201, response.text
        assert response.json()["n_samples"] == PUBLISHED

        paper = select(client, dataset.id, profile="paper")
        scores = list(client.selections.scores(paper))
        assert len(scores) == PUBLISHED
        # Results keep scores in float32: as close to what was published as that allows, and no further from it.
        found = np.array([score.learnability for score in scores])
        published = np.array([golden[score.id] for score in scores])
        np.testing.assert_array_max_ulp(found.astype(np.float32), published.astype(np.float32), maxulp=1)
        np.testing.assert_array_equal(found, found.astype(np.float32))
        assert scores[0].representativeness is None

        ours = select(client, dataset.id, profile="minirec")
        result = client.selections.retrieve(ours).result
        assert result is not None
        assert result.backfilled == 0
        picked = [score for score in client.selections.scores(ours) if score.picked_rank is not None]
        assert len(picked) == 1024
        assert min(score.reward_mean for score in picked) >= 1e-5, "a dead sample was picked"
        assert len(client.selections.subset(ours).ids) == 1024


def select(client: MiniRec, dataset_id: str, **settings: Any) -> str:
    job = client.selections.create(dataset=dataset_id, size=1024, signals="uploaded", **settings)
    return client.selections.wait(job.id, timeout=120).id
