"""Stands in for the workers: moves a selection through its stages with made-up numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from minirec.api_schemas import EvaluationResult, Ranking, SelectionResult, TrainingResult
from minirec.store import Store
from minirec.store.columns import Columns
from minirec.store.machine import Claim, Outcome, Stage

SCORING_UNITS = 2
ITEMS = 40


@dataclass
class StandIn:
    """A worker for one selection."""

    store: Store
    selection_id: str
    pool: int = 48
    scoring: str = "score:abc"

    def claim(self, group: str, unit: int = 0) -> Claim:
        """Take a unit that is there to be taken."""
        claim = self.store.machine.claim(group, unit, worker="host/1", lease=60)
        assert claim is not None
        return claim

    def prepare(self) -> None:
        """Plan the stages, as the worker's `prepare` does."""
        claim = self.claim(f"prepare:{self.selection_id}")
        stages = [
            Stage("embedding_catalogue", f"catalogue:{self.scoring}", "gpu", "catalogue", 1, ITEMS, "{}"),
            Stage("scoring", self.scoring, "gpu", "score", SCORING_UNITS, self.pool, "{}"),
            Stage("selecting", f"select:{self.selection_id}", "cpu", "select", 1, 1, "{}"),
        ]
        provenance = json.dumps({"model": {"id": "tiny", "revision": "abc"}})
        assert self.store.machine.commit(claim, progress=1, outcome=Outcome({"provenance": provenance}, stages))

    def embed(self) -> None:
        """Embed the catalogue."""
        claim = self.claim(f"catalogue:{self.scoring}")
        assert self.store.machine.commit(claim, progress=ITEMS)

    def score(self) -> None:
        """Score all shards."""
        for unit in range(SCORING_UNITS):
            assert self.store.machine.commit(self.claim(self.scoring, unit), progress=self.pool // SCORING_UNITS)

    def select(self, columns: Columns) -> None:
        """Finish with these columns."""
        claim = self.claim(f"select:{self.selection_id}")
        writes = self.store.columns.shards_of(f"selection:{self.selection_id}", columns)
        outcome = Outcome({"result": result(columns).model_dump_json()}, warnings=["a warning"], writes=writes)
        assert self.store.machine.commit(claim, progress=1, outcome=outcome)

    def finish(self, *, vectors: bool = True) -> Columns:
        """Do everything, and return what was stored."""
        columns = made_up_columns(self.pool, vectors=vectors)
        self.prepare()
        self.embed()
        self.score()
        self.select(columns)
        return columns


def made_up_columns(pool: int, *, picked: int = 6, rollouts: int = 3, vectors: bool = True) -> Columns:
    """Columns of a finished selection that picked the rows 0, 7, 14, ... and trains on them backwards."""
    rng = np.random.default_rng(0)
    rewards = rng.random((pool, rollouts))
    picked_rank, training_position, group = (np.full(pool, -1, dtype=np.int32) for _ in range(3))
    chosen = np.arange(picked) * 7
    picked_rank[chosen] = np.arange(picked)
    training_position[chosen] = np.arange(picked)[::-1]
    group[chosen] = np.arange(picked)[::-1] // 4
    columns: dict[str, np.ndarray] = {
        "row": np.arange(pool, dtype=np.int64),
        "rewards": rewards,
        "hit": (rewards > 0.5).astype(np.uint8),
        "learnability": rng.random(pool),
        "learnability_raw": rng.random(pool),
        "representativeness": rng.random(pool),
        "score": rng.random(pool),
        "gate": (np.arange(pool) % 3).astype(np.int8),
        "signal": (np.arange(pool) % 3).astype(np.int8),
        "picked_rank": picked_rank,
        "training_position": training_position,
        "group": group,
    }
    if not vectors:
        del columns["representativeness"]
    return columns


def result(columns: Columns) -> SelectionResult:
    """The short form of a result."""
    return SelectionResult(
        choice="matching",
        pool_size=len(columns["row"]),
        selected=int((columns["picked_rank"] >= 0).sum()),
        gated={"too_hard": 16, "too_easy": 16},
        backfilled=0,
        signal={"policy": 16, "teacher": 16, "none": 16},
        reward_mean=0.5,
        reward_std=0.1,
        selected_reward_mean=0.5,
        groups=2,
    )


@dataclass
class TrainingStandIn:
    """A worker for one training job."""

    store: Store
    job_id: str
    updates: int = 3
    warning: str | None = None
    """Of a run that found nothing better than its start."""

    def claim(self, group: str) -> Claim:
        """Take a unit that is there to be taken."""
        claim = self.store.machine.claim(group, 0, worker="host/1", lease=60)
        assert claim is not None
        return claim

    def prepare(self) -> None:
        """Plan the stages, as the worker's `prepare_training` does."""
        stages = [
            Stage("training", f"train:{self.job_id}", "train", "train", 1, self.updates, "{}"),
            Stage("finishing", f"finish:{self.job_id}", "cpu", "finish_training", 1, 1, "{}"),
        ]
        artifacts = {name: f"trainings/abc/{name}" for name in ("adapter_config.json", "metrics.jsonl")}
        fields = {"updates_total": str(self.updates), "artifacts": json.dumps(artifacts)}
        assert self.store.machine.commit(
            self.claim(f"prepare:{self.job_id}"), progress=1, outcome=Outcome(fields, stages)
        )

    def update(self, claim: Claim, number: int) -> None:
        """Do one update."""
        shown = {"loss": 0.5, "reward_mean": 0.1, "ndcg10": 0.2, "tokens_per_second": 90.0, "seconds": 2.0}
        self.store.machine.tell(claim, "metrics", {"stage": "training", "update": number, "epoch": 1} | shown)
        self.store.machine.renew(claim, lease=60, progress=number)

    def finish(self) -> None:
        """Do everything."""
        self.prepare()
        claim = self.claim(f"train:{self.job_id}")
        for number in range(1, self.updates + 1):
            self.update(claim, number)
        self.store.machine.tell(claim, "evaluation", {"split": "valid", "update": 3, "ndcg10": 0.25, "hr10": 0.5})
        self.store.blobs.put_bytes("trainings/abc/adapter_config.json", b"{}")
        self.store.blobs.put_bytes("trainings/abc/metrics.jsonl", b'{"update": 1}\n')
        assert self.store.machine.commit(claim, progress=self.updates)
        found = {"best_update": 3} if self.warning is None else {"best_update": 0, "warnings": [self.warning]}
        result = TrainingResult(updates=3, samples_seen=6, stopped_early=False, **found)
        outcome = Outcome({"result": result.model_dump_json()})
        assert self.store.machine.commit(self.claim(f"finish:{self.job_id}"), progress=1, outcome=outcome)


@dataclass
class EvaluationStandIn:
    """A worker for one evaluation."""

    store: Store
    job_id: str
    samples: int = 8

    def claim(self, group: str) -> Claim:
        """Take a unit that is there to be taken."""
        claim = self.store.machine.claim(group, 0, worker="host/1", lease=60)
        assert claim is not None
        return claim

    def prepare(self) -> None:
        """Plan the stages, as the worker's `prepare_evaluation` does."""
        stages = [
            Stage("evaluating", f"evaluate:{self.job_id}", "train", "evaluate", 1, self.samples, "{}"),
            Stage("finishing", f"finish:{self.job_id}", "cpu", "finish_evaluation", 1, 1, "{}"),
        ]
        outcome = Outcome({"samples_total": str(self.samples)}, stages)
        assert self.store.machine.commit(self.claim(f"prepare:{self.job_id}"), progress=1, outcome=outcome)

    def finish(self) -> None:
        """Do everything."""
        self.prepare()
        assert self.store.machine.commit(self.claim(f"evaluate:{self.job_id}"), progress=self.samples)
        ranking = Ranking(samples=self.samples, hr={"10": 0.5}, ndcg={"10": 0.25})
        outcome = Outcome({"result": EvaluationResult(samples=self.samples, ranking=ranking).model_dump_json()})
        assert self.store.machine.commit(self.claim(f"finish:{self.job_id}"), progress=1, outcome=outcome)
