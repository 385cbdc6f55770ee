"""What is measured of a sample, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scored:
    """Measures of B samples with G rollouts each, under a policy of hidden size d."""

    reward: npt.NDArray[np.float64]
    """(B, G)."""
    advantage: npt.NDArray[np.float64]
    """(B, G), group-relative; zeros where a group has no signal of its own."""
    signal: npt.NDArray[np.int8]
    """(B,): 0 the policy's own advantages, 1 teacher-forced (A = 1), 2 none: the vectors are zero."""
    gradient: npt.NDArray[np.float32]
    """(B, d), mean over the rollouts of A_n g_n."""
    hvp: npt.NDArray[np.float32]
    """(B, d), mean over the rollouts of A_n H_n (A_n g_n)."""
    embedding: npt.NDArray[np.float32]
    """(B, d) unit rows."""
    generated_tokens: npt.NDArray[np.int32]
    """(B, G), tokens that the policy chose itself."""
    prompt_tokens: npt.NDArray[np.int32]
    """(B,)."""
    texts: list[list[str]] = field(kw_only=True, default_factory=list)
    """What the first rollouts of each sample wrote, as many as were asked for."""
