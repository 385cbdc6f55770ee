"""Train a proxy: a short GRPO run, checkpointed to the blob store so that any worker can go on with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from api_schemas import ProxySettings, RolloutSettings
from minirec.store.machine import Outcome
from minirec.training.proxy import draw_proxy_rows
from minirec.training.runs import RecGrpoRun
from worker import plan, training
from worker.checkpoints import Checkpoints
from worker.datasets import dataset_files
from worker.policies import ADAPTER_FILES, resolved_with
from worker.work import Work

SHOWN = ("update", "loss", "reward_mean", "hit_rate", "ndcg10", "tokens_per_second", "seconds")


def run(work: Work) -> Outcome:
    """Train, going on from the last checkpoint, and store the adapter."""
    spec, blobs = work.claim.spec, work.store.blobs
    settings = ProxySettings.model_validate(spec["settings"])
    if all(blobs.exists(plan.proxy_file(spec["name"], name)) for name in ADAPTER_FILES):
        work.progress(settings.updates, cached=settings.updates)
        return Outcome()
    with tempfile.TemporaryDirectory(prefix="minirec-proxy-") as scratch:
        out = Path(scratch)
        checkpoints = Checkpoints(blobs, f"proxies/{spec['name']}/checkpoints", out)
        checkpoints.fetch()

        def on_update(metrics: dict[str, Any]) -> None:
            checkpoints.store()
            work.tell("metrics", {"stage": "training_proxy"} | {name: metrics[name] for name in SHOWN})
            work.progress(metrics["update"])

        samples, items = dataset_files(blobs, spec["content_hash"])
        pool = blobs.get_arrays(plan.pool_blob(spec["name"]))["rows"]
        proxy = RecGrpoRun(
            model=resolved_with(work, []),
            samples=samples,
            items=items,
            rows=draw_proxy_rows(pool, settings.samples, settings.grpo.seed).tolist(),
            rollouts=RolloutSettings.model_validate(spec["rollouts"]),
            grpo=settings.grpo,
            updates=settings.updates,
            out=out,
        )
        result = training.train(work, proxy, on_update=on_update)
        for name in ADAPTER_FILES:
            blobs.put_file(plan.proxy_file(spec["name"], name), result.adapter / name)
        checkpoints.clear()
    work.done = settings.updates
    return Outcome()
