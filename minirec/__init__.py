"""MiniRec: which samples an LLM recommender should be trained on, and in which order.

The client is here, too: `from minirec import MiniRec, AsyncMiniRec`. It is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["AsyncMiniRec", "MiniRec", "__version__"]


def __getattr__(name: str) -> Any:
    # By name, so that the layers below the client do not import it along with their version.
    if name in __all__:
        return getattr(import_module("minirec.client"), name)
    raise AttributeError(f"module 'minirec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
