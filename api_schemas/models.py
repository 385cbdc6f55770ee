"""References to models: data from outside, resolved and checked by the workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minirec.api_schemas.common import Echo, Request, Response

MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._\-]*(/[A-Za-z0-9][A-Za-z0-9._\-]*)*$"
REVISION = r"^[A-Za-z0-9][A-Za-z0-9._\-/]*$"
ModelId = Annotated[str, Field(min_length=1, max_length=256, pattern=MODEL_ID)]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=REVISION)]


class AdapterReference(Request):
    """A PEFT adapter on top of the model."""

    source: Literal["hub", "local"]
    """`hub`: from the Hugging Face hub. `local`: from the operator's models folder."""
    id: ModelId
    """Hub id, or a path below the operator's models folder."""
    revision: Revision | None = None
    """Branch, tag or commit on the hub; null takes the main branch, resolved to a commit."""


class ModelReference(Request):
    """A causal language model: a Hugging Face hub id, or a path below the operator's models folder."""

    source: Literal["hub", "local"]
    """`hub`: from the Hugging Face hub. `local`: from the operator's models folder."""
    id: ModelId
    """Hub id such as `Qwen/Qwen3-0.6B`, or a path below the operator's models folder."""
    revision: Revision | None = None
    """Branch, tag or commit; resolved to a commit and recorded. Local models are pinned by content hash."""
    adapter: AdapterReference | None = None
    """A PEFT adapter to load on top; null uses the model as it is."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is what the deployment says (`MINIREC_DTYPE`), else bfloat16 on CUDA and float32 on CPU."""


class UsedModel(Response):
    """A model that jobs of the tenant used, or the adapter that one of its training jobs left."""

    id: str
    """Identifies the row; `after` takes it."""
    object: Literal["model"] = "model"
    """Always `model`."""
    model: Echo[ModelReference]
    """The model with its adapter, as requests name it; of a trained adapter, the model that it is for."""
    training_job_id: str | None = None
    """Of a trained adapter, the job whose artifacts hold it; null for a model that jobs used."""
    jobs: int
    """How many jobs used it; of a trained adapter, 1: the one that left it."""
    created_at: float
    """When a job first used it, or left it, in seconds since 1970."""
    last_used_at: float
    """When the last job that used it was made, in seconds since 1970."""
