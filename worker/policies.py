"""Model references to loaded policies, with what the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from minirec.api_schemas import ModelReference
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import ResolvedModel, resolve
from minirec.settings import Settings
from minirec.specs import DeviceType, DType, PinnedModel
from minirec.specs.outputs import ADAPTER_FILES, proxy_file
from minirec.store.blobs import BlobStore
from minirec.worker.devices import require_device


def resolve_model(reference: ModelReference, settings: Settings) -> ResolvedModel:
    """Check and pin a reference. Raises ModelRefused."""
    return resolve(reference, models_root=settings.models_dir, allowed=settings.allowed_models)


def pin(reference: ModelReference, model: ResolvedModel, dtype: DType, device: DeviceType | None) -> PinnedModel:
    """Return the reference with everything resolved: all workers load the same weights, or say that they cannot."""
    pinned = reference.model_dump() | {"revision": model.revision, "dtype": dtype, "device": device}
    if reference.adapter is not None:
        pinned["adapter"] = reference.adapter.model_dump() | {"revision": model.adapter_revision}
    return PinnedModel.model_validate(pinned)


def resolve_pinned(model: PinnedModel, settings: Settings) -> ResolvedModel:
    """Return a pinned model's files. Raises ModelRefused, and UnitError where this worker cannot compute with it.

    Files of a hub model are looked for once per process, since a commit never changes; local ones may.
    """
    require_device(model)
    if model.source == "hub" and (model.adapter is None or model.adapter.source == "hub"):
        found = _hub_model(model, settings.models_dir, settings.allowed_models)
        if found.path.is_dir():
            return found
        _hub_model.cache_clear()
    return resolve_model(model, settings)


@lru_cache(maxsize=8)
def _hub_model(model: PinnedModel, models_root: Path, allowed: tuple[str, ...]) -> ResolvedModel:
    return resolve(model, models_root=models_root, allowed=allowed)


def with_adapter(model: ResolvedModel, blobs: BlobStore, adapter: Sequence[str]) -> ResolvedModel:
    """Return the model with the adapter whose files are these blobs of one folder. Raises BlobMissingError."""
    files = [blobs.local_path(blob) for blob in adapter]
    return replace(model, adapter_path=files[0].parent, adapter_revision=adapter[0])


def scoring_policy(model: PinnedModel, proxy: str | None, settings: Settings, blobs: BlobStore) -> Policy:
    """Load a model, with the adapter of a trained proxy where one is named; it stays loaded for the next unit."""
    resolved = resolve_pinned(model, settings)
    if proxy is not None:
        resolved = with_adapter(resolved, blobs, [proxy_file(proxy, file) for file in ADAPTER_FILES])
    return load_policy(resolved)
