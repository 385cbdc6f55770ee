"""What a selection's request asked for that had no effect, or less than it seems."""

from __future__ import annotations

from pydantic import BaseModel

from minirec.api_schemas import SelectionCreate
from minirec.api_schemas.datasets import Kind
from minirec.api_schemas.selections import PUBLISHED_NDCG_K

RECOMMENDATION_HEAD = ("window", "ndcg_k", "softmax_weight", "tau")
"""Rollout settings that prompts have no use for."""


def request_warnings(
    request: SelectionCreate, kind: Kind, *, whole_pool: int, left_out: int, has_vectors: bool
) -> list[str]:
    """Return what a person should know about a request.

    Args:
        request: What was asked for.
        kind: Of the dataset.
        whole_pool: Samples that could be selected, before `pool.max_samples`.
        left_out: Samples of the pool that nothing is known of.
        has_vectors: Whether the pool has vectors.
    """
    warnings = []
    if left_out:
        warnings.append(
            f"{left_out} samples of the pool have no uploaded rewards and could not be chosen; upload rewards for "
            f"them, or leave them out of the dataset"
        )
    if is_untrained(request, kind):
        warnings.append(
            "the rewards come from a model without an adapter or a proxy. Those of a model that was never trained on "
            "this task say next to nothing about what it can learn: train a proxy first (proxy.updates=30), or give "
            "an adapter. If the checkpoint itself was trained on the task, all is well"
        )
    most = request.pool.max_samples
    if most is not None and most > whole_pool:
        warnings.append(f"pool.max_samples is {most}, and there are {whole_pool} samples: all of them are in the pool")
    if without_effect := settings_without_effect(request, kind, whole_pool=whole_pool, has_vectors=has_vectors):
        names, why = zip(*without_effect, strict=True)
        reasons = ", ".join(dict.fromkeys(why))
        warnings.append(f"these settings had no effect: {', '.join(names)} ({reasons})")
    return warnings


def settings_without_effect(
    request: SelectionCreate, kind: Kind, *, whole_pool: int, has_vectors: bool
) -> list[tuple[str, str]]:
    """Return the settings that were changed and changed nothing, each with the reason."""
    rollouts = changed(request.rollouts)
    if request.profile == "paper" and request.rollouts.ndcg_k == PUBLISHED_NDCG_K:
        rollouts.remove("ndcg_k")  # The profile's own.
    found: list[tuple[str, str]] = []
    if request.signals is not None:
        # The window is that of the prompts in exports.
        used = {"window"} if kind == "interactions" else set()
        found += [(f"rollouts.{name}", "rewards were uploaded") for name in rollouts if name not in used]
    elif kind == "prompts":
        unused = [name for name in rollouts if name in RECOMMENDATION_HEAD]
        found += [(f"rollouts.{name}", "prompts have no recommendation head") for name in unused]
    gate = request.weights.gate
    if request.profile == "paper":
        found += [(f"weights.gate.{name}", "profile paper has no gate") for name in changed(gate)]
    elif not gate.enabled:
        found += [(f"weights.gate.{name}", "the gate is off") for name in changed(gate) if name != "enabled"]
    if not has_vectors:
        names = [name for name in ("vector", "alpha") if getattr(request.weights, name) is not None]
        found += [(f"weights.{name}", "there are no vectors") for name in names]
    if request.pool.seed and (request.pool.max_samples or whole_pool) >= whole_pool:
        found.append(("pool.seed", "the whole pool is taken"))
    return found


def changed(settings: BaseModel) -> list[str]:
    """Return the names of the settings that differ from their defaults."""
    fields = type(settings).model_fields
    return [name for name, field in fields.items() if getattr(settings, name) != field.get_default()]


def is_untrained(request: SelectionCreate, kind: Kind) -> bool:
    """Return whether a recommender's rewards come from a model as it is; instruction-tuned models can answer text."""
    if request.model is None or kind == "prompts":
        return False
    return request.model.adapter is None and request.proxy is None
