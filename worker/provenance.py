"""What a result was computed from and with, for its record."""

from __future__ import annotations

import platform
from importlib.metadata import version

from minirec import __version__
from minirec.data.prompts import PROMPT_VERSION
from minirec.policy.reference import ResolvedModel
from minirec.specs import PinnedModel
from minirec.worker.computing import Computing


def provenance(content_hash: str) -> dict[str, object]:
    """Return the dataset's content and the versions of what computes."""
    return {
        "dataset_content_hash": content_hash,
        "versions": {
            "python": platform.python_version(),
            "minirec": __version__,
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
        },
    }


def model_facts(model: PinnedModel, computing: Computing) -> dict[str, object]:
    """Return the model without its adapter, and where it is computed."""
    facts = {"source": model.source, "id": model.id, "revision": model.revision, "dtype": model.dtype}
    return {"model": facts, "device": computing.device, "prompt_version": PROMPT_VERSION}


def prompted_by(model: ResolvedModel) -> dict[str, object]:
    """Return the adapter, and whose tokenizer and chat template write the prompts: `model` or `adapter`."""
    return {
        "adapter_revision": model.adapter_revision,
        "tokenizer": model.tokenizer_source,
        "chat_template": model.template_source,
    }
