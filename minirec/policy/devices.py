"""What models run on in this process, and in which dtype."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch


def device_type() -> Literal["cpu", "cuda"]:
    """Return what models run on: a CUDA GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def auto_dtype() -> Literal["float32", "bfloat16"]:
    """Return what the dtype `auto` means here: bfloat16 on GPUs that compute in it, else float32."""
    return "bfloat16" if device_type() == "cuda" and runs("bfloat16") else "float32"


@lru_cache
def runs(dtype: str) -> bool:
    """Return whether this process's device computes in a dtype, and not by emulating it."""
    if dtype == "bfloat16" and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        ones = torch.ones(2, 2, dtype=getattr(torch, dtype), device=device_type())
        return bool(torch.softmax(ones @ ones, dim=-1).isfinite().all())
    except (RuntimeError, NotImplementedError):
        return False
