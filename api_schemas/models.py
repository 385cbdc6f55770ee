"""References to models: data from outside, resolved and checked by the workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.common import Request

MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._\-]*(/[A-Za-z0-9][A-Za-z0-9._\-]*)*$"
REVISION = r"^[A-Za-z0-9][A-Za-z0-9._\-/]*$"
ModelId = Annotated[str, Field(min_length=1, max_length=256, pattern=MODEL_ID)]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=REVISION)]


class AdapterReference(Request):
    """A PEFT adapter on top of the model."""

    source: Literal["hub", "local"]
    id: ModelId
    """Hub id, or a path below the operator's models folder."""
    revision: Revision | None = None


class ModelReference(Request):
    """A causal language model: a Hugging Face hub id, or a path below the operator's models folder."""

    source: Literal["hub", "local"]
    id: ModelId
    revision: Revision | None = None
    """Branch, tag or commit; resolved to a commit and recorded. Local models are pinned by content hash."""
    adapter: AdapterReference | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is what the deployment says (`MINIREC_DTYPE`), else bfloat16 on CUDA and float32 on CPU."""
