"""What all arms of a study share: sizes, and the settings of rollouts and training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from api_schemas.selections import RolloutSettings, SelectionCreate
from api_schemas.training import GrpoSettings, ProxyGrpoSettings, ProxySettings
from api_schemas.training_jobs import EarlyStopping
from minirec.specs import identity


@dataclass(frozen=True)
class Study:
    """A setting in which arms are compared. Only the seed and the arm vary within it."""

    name: str
    """Of the data set: `movielens`, or a folder."""
    budget: float = 0.1
    """Part of the pool that an arm may train on."""
    pool: int = 1000
    valid: int = 512
    test: int | None = None
    """None: all."""
    epochs: int = 8
    epochs_between: int = 2
    """Epochs of an arm's own samples between two evaluations on validation samples."""
    patience: int = 2
    """Evaluations without a rise after which training ends."""
    pretraining_steps: int = 150
    learning_rate: float = 1e-4
    proxy_updates: int = 30
    new_tokens: int = 8
    ndcg_k: int = 150
    """Beyond this rank a rollout earns nothing. In a catalogue of 1,681 items about as many samples then never earn
    anything as in the paper's pool."""

    @property
    def size(self) -> int:
        """Samples that an arm may train on."""
        return max(1, round(self.budget * self.pool))

    @property
    def stopping(self) -> EarlyStopping:
        return EarlyStopping(patience=self.patience)

    def rollouts(self, seed: int) -> RolloutSettings:
        """Groups of four, short ones."""
        return RolloutSettings(max_new_tokens=self.new_tokens, ndcg_k=self.ndcg_k, seed=seed)

    def grpo(self, seed: int) -> GrpoSettings:
        """The training that every arm gets."""
        return GrpoSettings(learning_rate=self.learning_rate, seed=seed)

    def every(self, samples: int) -> int:
        """Return the updates between two evaluations of an arm with `samples` samples."""
        return self.epochs_between * -(-samples // self.grpo(0).batch_size)

    def proxy(self, seed: int) -> ProxySettings:
        """A short run of the same training, at the service's rate for it, on a random part of the pool."""
        grpo = ProxyGrpoSettings(seed=seed)
        return ProxySettings(samples=self.proxy_updates * grpo.batch_size, updates=self.proxy_updates, grpo=grpo)

    def fingerprint(self, *without: str) -> str:
        """A short name for the setting and the service's defaults that it takes over, leaving these fields out."""
        chosen_by = SelectionCreate(dataset_id="ds_quality", signals="uploaded", size=1)
        shown: dict[str, Any] = {name: value for name, value in asdict(self).items() if name not in without}
        shown |= {"selection": chosen_by.model_dump(mode="json", include={"weights", "curriculum"})}
        shown |= {"rollouts": self.rollouts(0).model_dump(mode="json")}
        shown |= {
            "training": identity(self.grpo(0), defaults=True),
            "proxy": identity(self.proxy(0), defaults=True),
        }
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:10]
