"""The numbers of a training run, as curves."""

from __future__ import annotations

from typing import Any

from minirec.store import Store

POINTS = 500
SHOWN = ("loss", "reward_mean", "ndcg10", "tokens_per_second")


def curves(store: Store, job_id: str) -> dict[str, Any]:
    """Return what a training job measured: per update, and at its evaluations. At most 500 updates are shown."""
    updates: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    after = None
    while events := store.events.read(job_id, after=after, limit=1000):
        updates += [event.data for event in events if event.type == "metrics"]
        evaluations += [event.data for event in events if event.type == "evaluation"]
        after = events[-1].id
    step = -(-len(updates) // POINTS) or 1
    updates = updates[::step]
    return {
        "updates": [update["update"] for update in updates],
        "series": {
            name: [update.get(name) for update in updates]
            for name in SHOWN
            if any(update.get(name) is not None for update in updates)
        },
        "evaluations": [
            {
                "split": found["split"],
                "update": found["update"],
                "measure": "NDCG@10" if "ndcg10" in found else "reward",
                "value": found.get("ndcg10", found.get("reward_mean")),
            }
            for found in evaluations
        ],
    }
