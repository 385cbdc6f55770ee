"""Proxy, scoring and training, with the functions that the workers call, and what each of them cost.

Whatever is done is written down whole, under a name made of the settings that it depends on: a run that was killed goes
on where it was, arm by arm and seed by seed. One process at a time works on a seed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from api_schemas import ModelReference
from benchmarks.quality.costs import Cost
from benchmarks.quality.data import Parts, Rows
from benchmarks.quality.study import Study
from minirec.data.dataset import Dataset
from minirec.policy.catalogue import embed_items
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompt
from minirec.policy.reference import resolve
from minirec.policy.scoring import score_samples
from minirec.selection.compose import Profile
from minirec.training.batches import Schedule
from minirec.training.evaluate import Evaluation, evaluate
from minirec.training.grpo import TrainResult, UpdateMetrics, train
from minirec.training.proxy import draw_proxy_rows
from minirec.training.settings import RunSettings
from minirec.training.validation import Validation
from worker.measured import Measured


@dataclass(frozen=True)
class Scoring:
    """How the pool is measured for an arm."""

    profile: Profile = "minirec"
    vector: Literal["gradient", "hvp", "teacher"] = "teacher"
    """The one behind R, and behind the arms that look at the length of gradients."""
    proxied: bool = True
    """False: rolled out by the model as it is."""
    part: float = 1.0
    """A random part of the pool is scored; the rest cannot be chosen."""

    @property
    def name(self) -> str:
        """Of what is measured, whichever of the vectors is looked at."""
        return f"{self.profile}{'' if self.proxied else '-unproxied'}{'' if self.part == 1 else f'-{self.part}'}"


@dataclass(frozen=True)
class Bench:
    """A study with its data and its model, and the folder of its results."""

    study: Study
    dataset: Dataset
    parts: Parts
    model: Path
    folder: Path
    say: Callable[[str], None]

    def policy(self, adapter: Path | None = None) -> Policy:
        """The model as it is, or under an adapter."""
        found = resolve(ModelReference(source="local", id=self.model.name), models_root=self.model.parent, allowed=())
        if adapter is not None:
            found = replace(found, adapter_path=adapter, adapter_revision=str(adapter))
        return load_policy(found)

    def samples(self, rows: Sequence[int] | Rows) -> list[Any]:
        return [self.dataset.sample(int(row)) for row in rows]

    @cached_property
    def prompt_tokens(self) -> dict[int, int]:
        """Length of the user prompt of each row of the pool."""
        rollouts, policy, items = self.study.rollouts(0), self.policy(), self.dataset.items
        room = rollouts.max_new_tokens + len(policy.answer_ids)
        return {
            int(row): len(user_prompt(policy, items, sample, window=rollouts.window, room=room))
            for row, sample in zip(self.parts.pool, self.samples(self.parts.pool), strict=True)
        }


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON in a file, made and written whole if it is not there."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(made))
        os.replace(scratch, path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def start(bench: Bench) -> dict[str, Any]:
    """How the model ranks the test targets before any training."""

    def run() -> dict[str, Any]:
        return {"test": _shown(_rank_test(bench, bench.policy()))}

    return kept(bench.folder / "start.json", run)


def unscored(bench: Bench) -> Measured:
    """The pool for arms that need no measurements."""
    size = len(bench.parts.pool)
    return Measured(bench.parts.pool, np.zeros((size, 1)), None, np.zeros(size, np.int8), None, None)


def measure(bench: Bench, seed: int, scoring: Scoring) -> tuple[Measured, Cost]:
    """Score the pool, or a part of it, and what that cost, the proxy included."""
    proxy, cost = proxy_of(bench, seed) if scoring.proxied else (None, Cost())
    profile, arrays = scoring.profile, bench.folder / f"seed-{seed}" / f"scores-{scoring.name}.npz"
    size = len(bench.parts.pool)
    # Not the stream of the proxy's samples and of the random picks.
    part = np.sort(np.random.default_rng([seed, 1]).permutation(size)[: round(scoring.part * size)])
    rows = bench.parts.pool[part]

    def run() -> dict[str, Any]:
        study, spent = bench.study, Cost()
        samples = bench.samples(rows)
        with spent.timed():
            policy = bench.policy(proxy)
            catalogue = embed_items(policy, bench.dataset.items)
            scored = score_samples(
                policy, catalogue, bench.dataset.items, samples, rollouts=study.rollouts(seed), profile=profile
            )
        greedy = len(samples) if profile == "paper" else 0
        spent.rollouts = scored.reward.size + greedy
        spent.tokens = int(scored.prompt_tokens.sum() + scored.generated_tokens.sum()) + greedy * study.new_tokens
        arrays.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            arrays,
            rewards=scored.reward,
            hits=scored.ndcg > 0,
            signal=scored.signal,
            gradient=scored.gradient,
            hvp=scored.hvp,
            teacher=scored.teacher,
            embeddings=scored.embedding,
            target_probability=scored.target_probability,
        )
        return asdict(spent)

    cost = cost + Cost(**kept(arrays.with_suffix(".json"), run))
    with np.load(arrays) as found:
        names = ("rewards", "hits", "signal", "embeddings", "target_probability")
        return Measured(rows, vectors=found[scoring.vector], **{name: found[name] for name in names}), cost


def proxy_of(bench: Bench, seed: int) -> tuple[Path, Cost]:
    """The adapter of the seed's proxy."""
    out, spent = bench.folder / f"seed-{seed}" / "proxy", Cost()

    def run() -> dict[str, Any]:
        shutil.rmtree(out, ignore_errors=True)
        policy, study, proxy = bench.policy(), bench.study, bench.study.proxy(seed)
        rows = draw_proxy_rows(bench.parts.pool, proxy.samples, proxy.grpo.seed).tolist()
        with spent.timed():
            result = train(
                policy,
                bench.dataset,
                RunSettings(rows=rows, rollouts=study.rollouts(seed), grpo=proxy.grpo, updates=proxy.updates, out=out),
            )
        return asdict(spent + _rollouts_of(bench, rows, result))

    return out / "adapter", Cost(**kept(bench.folder / f"seed-{seed}" / "proxy.json", run))


def train_on(bench: Bench, rows: Sequence[int], seed: int, **settings: Any) -> dict[str, Any]:
    """Train on these samples in their order, and rank the test targets; `settings` are those of GRPO that differ."""
    study, spent = bench.study, Cost()
    with TemporaryDirectory() as scratch:
        policy = bench.policy()
        with spent.timed():
            result = train(
                policy,
                bench.dataset,
                RunSettings(
                    rows=rows,
                    rollouts=study.rollouts(seed),
                    grpo=study.grpo(seed).model_copy(update=settings),
                    epochs=study.epochs,
                    out=Path(scratch),
                    validation=Validation(bench.parts.valid.tolist(), study.every(len(rows)), study.stopping),
                ),
            )
        tested = _rank_test(bench, bench.policy(result.adapter))
    return {
        "updates": result.updates,
        "best_update": result.best_update,
        "stopped_early": result.stopped_early,
        "valid": [{"update": entry["update"], "ndcg10": entry["ndcg"]["10"]} for entry in result.evaluations],
        "rewards": [metrics.reward_mean for metrics in result.metrics],
        "dead_groups": sum(metrics.dead_groups for metrics in result.metrics),
        "cost": asdict(spent + _rollouts_of(bench, rows, result)),
        "test": _shown(tested),
    }


def _rollouts_of(bench: Bench, rows: Sequence[int], result: TrainResult[UpdateMetrics]) -> Cost:
    """Rollouts of a training run, and the tokens that they took."""
    schedule = Schedule(rows, bench.study.grpo(0).batch_size)
    seen = [row for update in range(result.updates) for row in schedule.batch(update)]
    read = sum(bench.prompt_tokens[row] for row in seen)
    drawn = sum(metrics.tokens for metrics in result.metrics)
    return Cost(rollouts=len(seen) * bench.study.rollouts(0).group_size, tokens=read + drawn)


def _rank_test(bench: Bench, policy: Policy) -> Evaluation:
    rows = bench.parts.test.tolist()
    return evaluate(policy, dataset=bench.dataset, rows=rows, rollouts=bench.study.rollouts(0))


def _shown(evaluation: Evaluation) -> dict[str, Any]:
    """The means, and every sample's rank for paired comparisons."""
    return evaluation.summary().model_dump() | {"ranks": list(evaluation.ranks)}
