"""What all arms of a study share: sizes, and the settings of rollouts and training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from api_schemas.selections import RolloutSettings
from api_schemas.training import GrpoSettings, ProxyGrpoSettings, ProxySettings
from api_schemas.training_jobs import EarlyStopping


@dataclass(frozen=True)
class Study:
    """A setting in which arms are compared. Only the seed and the arm vary within it."""

    name: str
    """Of the data set: `movielens`, or a folder."""
    budget: float = 0.1
    """Part of the pool that an arm may train on."""
    pool: int = 1000
    valid: int = 512
    test: int = 1245
    epochs: int = 8
    every: int = 20
    """Updates between two evaluations on validation samples."""
    patience: int = 3
    """Evaluations without a rise after which training ends."""
    pretraining_steps: int = 15
    learning_rate: float = 3e-5
    proxy_updates: int = 30
    new_tokens: int = 8

    @property
    def size(self) -> int:
        """Samples that an arm may train on."""
        return max(1, round(self.budget * self.pool))

    @property
    def stopping(self) -> EarlyStopping:
        return EarlyStopping(patience=self.patience)

    def rollouts(self, seed: int) -> RolloutSettings:
        """Groups of four, short ones."""
        return RolloutSettings(max_new_tokens=self.new_tokens, seed=seed)

    def grpo(self, seed: int) -> GrpoSettings:
        """The training that every arm gets."""
        return GrpoSettings(learning_rate=self.learning_rate, seed=seed)

    def proxy(self, seed: int) -> ProxySettings:
        """A short run of the same training on a random part of the pool."""
        grpo = ProxyGrpoSettings(learning_rate=self.learning_rate, seed=seed)
        return ProxySettings(samples=self.proxy_updates * grpo.batch_size, updates=self.proxy_updates, grpo=grpo)

    def fingerprint(self, *without: str) -> str:
        """A short name for the setting, leaving these fields out."""
        shown = {name: value for name, value in asdict(self).items() if name not in without}
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:10]
