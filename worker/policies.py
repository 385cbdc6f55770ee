"""Model references to loaded policies, with what the operator allows."""

from __future__ import annotations

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
    spec = work.claim.spec
    resolved = resolve_model(ModelReference.model_validate(spec["model"]), work.settings)
    if spec["proxy"] is not None:
        files = [work.store.blobs.local_path(plan.proxy_file(spec["proxy"], name)) for name in ADAPTER_FILES]
        resolved = replace(resolved, adapter_path=files[0].parent, adapter_revision=f"proxy:{spec['proxy']}")
    return load_policy(resolved)
