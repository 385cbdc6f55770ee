"""Stages name everything that their units write: what no stage names could never be deleted."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest

from minirec.api_schemas import Signals
from minirec.policy.scoring import score_samples
from minirec.store import checksums
from minirec.store.names import signals_blob
from minirec.worker import score
from minirec.worker.runner import Runner
from tests.worker.bench import Bench
from tests.worker.test_training_jobs import body

UPLOADS = ("datasets/", "signals/")


def outputs(bench: Bench) -> set[str]:
    """What the stages of all jobs name."""
    prefix = f"{bench.store.prefix}job:"
    keys = bench.store.redis.scan_iter(f"{prefix}*:stages")
    stages = [json.loads(stage) for key in keys for stage in bench.store.redis.lrange(key, 0, -1)]
    return {output for stage in stages for output in stage["outputs"]}


def unnamed(bench: Bench) -> list[str]:
    """Blobs and columns that no stage names. A checksum goes with its blob."""
    root = Path(urlparse(bench.settings.blob_url).path)
    blobs = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    blobs = [name.removesuffix(checksums.SUFFIX) for name in blobs]
    prefix = bench.store.prefix.encode()
    columns = [key.removeprefix(prefix).decode() for key in bench.store.redis.scan_iter(prefix + b"columns:*")]
    named = outputs(bench)
    folders = tuple(name for name in named if name.endswith("/"))
    return [
        name for name in blobs + columns if name not in named and not name.startswith(folders) and not is_upload(name)
    ]


def is_upload(name: str) -> bool:
    return name.startswith(UPLOADS)


def upload_signals(bench: Bench, **arrays: Any) -> None:
    """Put signals of every sample where the workers find them."""
    rows = np.arange(48)
    rewards = np.random.default_rng(0).random((48, 2))
    bench.store.blobs.put_arrays(signals_blob("sig"), {"rows": rows, "rewards": rewards} | arrays)
    record = bench.store.datasets.get(bench.dataset_id)
    bench.store.signals.put(
        Signals(
            dataset_id=record.id,
            created_at=0,
            content_hash="sig",
            dataset_content_hash=record.content_hash,
            n_samples=48,
            rollouts=2,
            has_hits=False,
        )
    )


def test_everything_that_is_written_is_named_by_a_stage(split_bench: Bench) -> None:
    proxy = {"samples": 4, "updates": 1, "grpo": {"batch_size": 2}}
    rollouts = {"group_size": 2, "max_new_tokens": 4}
    upload_signals(split_bench, embeddings=np.eye(48, 8) + 1)
    jobs = [
        split_bench.create(proxy=proxy, rollouts=rollouts),
        split_bench.create(signals="uploaded", model=None),
        split_bench.train(**body(args={"updates": 2})),
    ]
    split_bench.hear()
    assert {split_bench.store.jobs.get(job).status for job in jobs} == {"succeeded"}
    assert unnamed(split_bench) == []
    assert len(outputs(split_bench)) == 20, outputs(split_bench)


def test_what_unfinished_work_leaves_is_named_too(split_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def dies(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("lost")
        return score_samples(*arguments, **settings)

    monkeypatch.setattr(score, "score_samples", dies)
    split_bench.settings = split_bench.settings.model_copy(update={"max_attempts": 1})
    split_bench.runner = Runner(split_bench.store, split_bench.settings, multiprocessing.get_context("fork").Event())
    job = split_bench.create()
    split_bench.hear()
    assert split_bench.store.jobs.get(job).status == "failed"
    root = Path(urlparse(split_bench.settings.blob_url).path)
    assert list(root.rglob("part-*.safetensors")), "a checkpoint within a shard"
    assert unnamed(split_bench) == []


@pytest.mark.parametrize(
    ("embeddings", "says"),
    [
        (np.vstack([np.ones((10, 4)), np.zeros((1, 4)), np.ones((37, 4))]), "is all zeros and has no direction"),
        (np.vstack([np.ones((10, 4)), np.full((1, 4), 1e30), np.ones((37, 4))]), "has a norm outside"),
    ],
)
def test_signals_that_cannot_be_selected_by_fail_at_once_and_name_the_sample(
    bench: Bench, embeddings: Any, says: str
) -> None:
    upload_signals(bench, embeddings=embeddings)
    job = bench.create(signals="uploaded", model=None)
    assert bench.hear() == ["committed", "failed"]
    error = bench.store.jobs.get(job).json("error")
    assert (error["code"], error["stage"]) == ("invalid_signals", "selecting")
    assert "sample 's010'" in error["message"]
    assert says in error["message"]
