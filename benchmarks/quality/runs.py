"""Proxy, scoring and training, with the functions that the workers call.

Whatever is done is written down whole: a study that was killed resumes where it was, run by run. One process at a time
works on a set.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.sets import Draw, Parts, Rows, draw
from benchmarks.quality.study import Study
from minirec.api_schemas import ModelReference
from minirec.data.dataset import Dataset
from minirec.policy.catalogue import embed_items
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import resolve
from minirec.policy.scoring import score_samples
from minirec.training.checkpoint import Progress
from minirec.training.evaluate import Evaluation
from minirec.training.grpo import train
from minirec.training.proxy import draw_proxy_rows
from minirec.training.settings import Callbacks, RunSettings
from minirec.training.validation import Validation

MEASURED = ("reward", "ndcg", "signal", "gradient", "hvp", "teacher", "embedding", "target_probability")


@dataclass(frozen=True)
class Bench:
    """A study on one set, with its model, and the folder of its results."""

    study: Study
    name: str
    dataset: Dataset
    parts: Parts
    model: Path
    folder: Path

    @cached_property
    def base(self) -> Policy:
        """The model as it is, loaded once: training leaves it as it was."""
        return self.policy()

    @cached_property
    def _prompts(self) -> dict[str, Any]:
        return {}

    def policy(self, adapter: Path | None = None) -> Policy:
        """Load the model as it is, or under an adapter."""
        found = resolve(ModelReference(source="local", id=self.model.name), models_root=self.model.parent, allowed=())
        if adapter is not None:
            found = replace(found, adapter_path=adapter, adapter_revision=str(adapter))
        policy = load_policy(found)
        policy.tokenizer = RememberingTokenizer(policy.tokenizer, self._prompts)
        return policy

    def draw(self, seed: int) -> Draw:
        """Return the rows that the runs of a seed see."""
        study = self.study
        return draw(self.parts, seed, pool=study.pool, valid=study.valid, test=study.test)

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """(N,) the target of every row of the dataset, -1 where it is not needed."""
        found = np.full(len(self.dataset.ids), -1, dtype=np.int64)
        rows = np.concatenate([self.parts.past, self.parts.reservoir, self.parts.valid])
        found[rows] = [self.dataset.sample(int(row)).target for row in rows]
        return found

    @cached_property
    def popularity(self) -> npt.NDArray[np.float64]:
        """(M,) how often each item is a target of a past sample."""
        past = self.targets[self.parts.past]
        return np.bincount(past, minlength=len(self.dataset.items)).astype(np.float64)


class RememberingTokenizer:
    """A tokenizer that does the same text only once: runs on one set read the same prompts again and again."""

    def __init__(self, tokenizer: Any, known: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, texts: Sequence[str], **options: Any) -> dict[str, list[list[int]]]:
        """Return the tokens of several texts."""
        return {"input_ids": [self.encode(text, **options) for text in texts]}

    def encode(self, text: str, **options: Any) -> list[int]:
        """Return the tokens of a text, a list of the caller's own."""
        key = f"{text}{sorted(options.items())}"
        if key not in self._known:
            self._known[key] = self._tokenizer.encode(text, **options)
        return list(self._known[key])

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        """Return a chat as text."""
        key = json.dumps([messages, options], sort_keys=True)
        if key not in self._known:
            self._known[key] = self._tokenizer.apply_chat_template(messages, **options)
        return self._known[key]


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON in a file; made and written whole if it is not there."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(made))
        os.replace(scratch, path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@dataclass(frozen=True)
class Scores:
    """What scoring measured of the pool and of the validation samples of one seed."""

    pool: Rows
    of_pool: Mapping[str, npt.NDArray[Any]]
    """One row per pool sample: `MEASURED`, and `base_reward`, under the model before the proxy's training."""
    of_valid: Mapping[str, npt.NDArray[Any]]


def scores(bench: Bench, seed: int) -> Scores:
    """Score the pool and the validation samples of a seed under its proxy."""
    drawn, path = bench.draw(seed), bench.folder / f"scores-{seed}.npz"
    if not path.exists():
        study, items, base = bench.study, bench.dataset.items, bench.base
        rollouts = study.rollouts(seed, len(items))
        pool, valid = (_samples(bench, rows) for rows in (drawn.pool, drawn.valid))
        settings = study.proxy(seed)
        began = time.process_time()
        found: dict[str, Any] = {}
        # Of a language model it costs minutes, and only one arm looks at it.
        if not study.model:
            before = score_samples(base, embed_items(base, items), items, pool, rollouts=rollouts)
            found["base_reward"] = before.reward
        with TemporaryDirectory() as scratch:
            rows = draw_proxy_rows(drawn.pool, settings.samples, settings.grpo.seed).tolist()
            made = train(
                base,
                bench.dataset,
                RunSettings(
                    rows=rows, rollouts=rollouts, grpo=settings.grpo, updates=settings.updates, out=Path(scratch)
                ),
            )
            proxy = bench.policy(made.adapter)
        vectors = embed_items(proxy, items)
        for part, samples in (("pool", pool), ("valid", valid)):
            scored = score_samples(proxy, vectors, items, samples, rollouts=rollouts)
            found |= {f"{part}_{name}": getattr(scored, name) for name in MEASURED}
        found["seconds"] = np.array(time.process_time() - began)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".tmp").open("wb") as file:
            np.savez(file, **found)
        os.replace(path.with_suffix(".tmp"), path)
    with np.load(path) as stored:
        of_pool = {name: stored[f"pool_{name}"] for name in MEASURED} | {
            name: stored[name] for name in ("base_reward",) if name in stored
        }
        return Scores(drawn.pool, of_pool, {name: stored[f"valid_{name}"] for name in MEASURED})


class _AtBudgets(Validation):
    """Evaluate at the fixed budgets, never stop."""

    def is_due(self, progress: Progress, last: int) -> bool:
        return progress.update > 0 and super().is_due(progress, last)


def train_on(
    bench: Bench,
    rows: Sequence[int],
    seed: int,
    *,
    updates: int | None = None,
    ndcg_share: float | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train on these samples in their order for the study's updates, and evaluate at its budgets.

    `ndcg_share` and the `settings` of GRPO are those that differ from the study's.
    """
    study, drawn, curve = bench.study, bench.draw(seed), {}
    if ndcg_share is not None:
        study = replace(study, ndcg_share=ndcg_share)
    held_out = [*drawn.valid.tolist(), *drawn.test.tolist()]

    def evaluated(update: int, evaluation: Evaluation) -> None:
        curve[str(update)] = measures(evaluation, len(drawn.valid))

    began = time.process_time()
    with TemporaryDirectory() as scratch:
        result = train(
            bench.base,
            bench.dataset,
            RunSettings(
                rows=list(rows),
                rollouts=study.rollouts(seed, len(bench.dataset.items)),
                grpo=study.grpo(seed).model_copy(update=settings),
                updates=study.updates if updates is None else updates,
                out=Path(scratch),
                checkpoint_every=10_000,
                validation=_AtBudgets(held_out, study.every) if updates != 0 else Validation(held_out, study.every),
            ),
            Callbacks(on_evaluation=evaluated),
        )
    return {
        "curve": curve,
        "dead_groups": sum(metrics.dead_groups for metrics in result.metrics),
        "rewards": [round(metrics.reward_mean, 4) for metrics in result.metrics],
        "seconds": round(time.process_time() - began, 2),
    }


def measures(evaluation: Evaluation, valid: int) -> dict[str, dict[str, float]]:
    """Return the means over validation samples, which come first, and over test samples."""
    ranks, logs = np.array(evaluation.ranks, dtype=np.float64), np.array(evaluation.log_probabilities)
    gains = 1 / np.log2(ranks + 1)
    per_sample = {"ndcg10": np.where(ranks <= 10, gains, 0), "ndcg": gains, "mrr": 1 / ranks, "logp": logs}
    halves = {"valid": slice(valid), "test": slice(valid, None)}
    return {
        half: {name: round(float(values[part].mean()), 6) for name, values in per_sample.items()}
        for half, part in halves.items()
    }


def _samples(bench: Bench, rows: Rows) -> list[Any]:
    return [bench.dataset.sample(int(row)) for row in rows]
