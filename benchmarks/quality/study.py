"""What all arms of a study share: sizes, and the settings of rollouts and training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings, ProxyGrpoSettings, ProxySettings
from minirec.specs import identity


@dataclass(frozen=True)
class Study:
    """A setting in which arms are compared. Only the seed and the arm vary within it."""

    model: str = ""
    """A language model by name, as it is; empty for a small one that is pre-trained on the set."""
    pool: int = 1000
    size: int = 100
    """Samples that an arm may train on."""
    valid: int = 128
    test: int = 640
    updates: int = 48
    every: int = 24
    """Updates between two evaluations: the fixed budgets at which arms are compared."""
    hidden: int = 64
    pretraining_steps: int = 30
    learning_rate: float = 1e-4
    proxy_updates: int = 30
    new_tokens: int = 3
    tau: float = 0.05
    """Of the softmax over the catalogue: the one that the model was pre-trained with."""
    ndcg_share: float = 1.0
    """`ndcg_k` of proxy and scoring as a share of the catalogue: with all ranks known, an arm may judge by any."""
    refresh: int = 24

    def rollouts(self, seed: int, items: int) -> RolloutSettings:
        """Return the settings of groups of four short rollouts in a catalogue of so many items."""
        return RolloutSettings(
            max_new_tokens=self.new_tokens, tau=self.tau, ndcg_k=max(1, round(self.ndcg_share * items)), seed=seed
        )

    def grpo(self, seed: int) -> GrpoSettings:
        """Return the settings of the training that every arm gets."""
        return GrpoSettings(
            learning_rate=self.learning_rate,
            learning_rate_schedule="linear",
            seed=seed,
            catalogue_refresh=self.refresh,
        )

    def proxy(self, seed: int) -> ProxySettings:
        """Return the settings of a short run of the same training on a random part of the pool."""
        grpo = ProxyGrpoSettings(seed=seed, learning_rate_schedule="linear", catalogue_refresh=self.refresh)
        return ProxySettings(samples=self.proxy_updates * grpo.batch_size, updates=self.proxy_updates, grpo=grpo)

    @property
    def short_name(self) -> str:
        """Return what its folders are called."""
        return f"{self.model or 'study'}-{self.fingerprint()}"

    def fingerprint(self) -> str:
        """Return a short name for the setting and for the service's defaults that it takes over."""
        own = {name: value for name, value in asdict(self).items() if name != "model"}
        shown: dict[str, Any] = own | {
            "rollouts": self.rollouts(0, 1000).model_dump(mode="json"),
            "training": identity(self.grpo(0), defaults=True),
            "proxy": identity(self.proxy(0), defaults=True),
        }
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:8]


SMOLLM2 = Study(
    model="SmolLM2-135M-Instruct",
    pool=640,
    size=64,
    valid=128,
    test=320,
    updates=48,
    every=24,
    proxy_updates=24,
    new_tokens=12,
)
"""A language model that has read no catalogue: for a GPU, where a run takes about a minute."""
