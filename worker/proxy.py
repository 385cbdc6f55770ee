"""Train a proxy: a short GRPO run, checkpointed to the blob store so that any worker can resume it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from minirec.policy.reference import ResolvedModel
from minirec.specs import ProxySpec
from minirec.specs.outputs import ADAPTER_FILES, proxy_checkpoints, proxy_file
from minirec.store.blobs import BlobStore
from minirec.store.machine import Outcome
from minirec.training.proxy import draw_proxy_rows
from minirec.training.runs import RecGrpoRun
from minirec.training.settings import RunSettings
from minirec.worker import training
from minirec.worker.checkpoints import Checkpoints
from minirec.worker.datasets import dataset_files
from minirec.worker.policies import resolve_pinned
from minirec.worker.pools import pool_of
from minirec.worker.work import Work

SHOWN = ("update", "loss", "reward_mean", "hit_rate", "ndcg10", "tokens_per_second", "seconds")


def run(work: Work, spec: ProxySpec) -> Outcome:
    """Train, resuming from the last checkpoint, and store the adapter."""
    blobs, name, settings = work.store.blobs, spec.name, spec.settings
    if all(blobs.exists(proxy_file(name, file)) for file in ADAPTER_FILES):
        work.progress(settings.updates, cached=settings.updates)
        return Outcome()
    with tempfile.TemporaryDirectory(prefix="minirec-proxy-") as scratch:
        checkpoints = Checkpoints(blobs, proxy_checkpoints(name), Path(scratch))
        checkpoints.fetch()

        def on_update(metrics: dict[str, Any]) -> None:
            checkpoints.store()
            work.report_event("metrics", {"stage": "training_proxy"} | {name: metrics[name] for name in SHOWN})
            work.progress(metrics["update"])

        run_of_proxy = _run_of(spec, blobs, resolve_pinned(spec.model, work.settings), Path(scratch))
        result = training.train(work, run_of_proxy, on_update=on_update)
        for file in ADAPTER_FILES:
            blobs.put_file(proxy_file(name, file), result.adapter / file)
        checkpoints.clear()
    work.done = settings.updates
    return Outcome()


def _run_of(spec: ProxySpec, blobs: BlobStore, model: ResolvedModel, out: Path) -> RecGrpoRun:
    """Return the run that the spec asks for, in a folder of this machine."""
    samples, items = dataset_files(blobs, spec.content_hash)
    proxy = spec.settings
    settings = RunSettings(
        rows=draw_proxy_rows(pool_of(blobs, spec), proxy.samples, proxy.grpo.seed).tolist(),
        rollouts=spec.rollouts,
        grpo=proxy.grpo,
        out=out,
        updates=proxy.updates,
    )
    return RecGrpoRun(model=model, settings=settings, samples=samples, items=items)
