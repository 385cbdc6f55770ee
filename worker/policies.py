"""Model references to loaded policies, with what the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from api_schemas import ModelReference
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import ResolvedModel, resolve
from minirec.settings import Settings
from worker import plan
from worker.work import Work

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def resolve_model(reference: ModelReference, settings: Settings) -> ResolvedModel:
    """Check and pin a reference. Raises ModelRefused."""
    return resolve(reference, models_root=settings.models_dir, allowed=settings.allowed_models)


def policy_of(work: Work) -> Policy:
    """The policy that a unit's spec names; stays loaded for the next unit."""
    proxy = work.claim.spec["proxy"]
    return load_with(work, [plan.proxy_file(proxy, name) for name in ADAPTER_FILES] if proxy is not None else [])


def load_with(work: Work, adapter: Sequence[str]) -> Policy:
    """The policy of `resolved_with`; stays loaded for the next unit."""
    return load_policy(resolved_with(work, adapter))


def resolved_with(work: Work, adapter: Sequence[str]) -> ResolvedModel:
    """The model of a unit's spec, and on it the adapter whose files are these blobs of one folder, if there are any."""
    resolved = resolve_model(ModelReference.model_validate(work.claim.spec["model"]), work.settings)
    if adapter:
        files = [work.store.blobs.local_path(blob) for blob in adapter]
        resolved = replace(resolved, adapter_path=files[0].parent, adapter_revision=adapter[0])
    return resolved
