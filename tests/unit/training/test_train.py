"""`train` from the outside: what is learned, in which order, and that an interruption changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from minirec.api_schemas.selections import RolloutSettings
from minirec.api_schemas.training import GrpoSettings
from minirec.data.dataset import Dataset, Sample
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.training import learner
from minirec.training.checkpoint import latest_checkpoint
from minirec.training.grpo import TrainResult, UpdateMetrics, train
from minirec.training.settings import Callbacks, RunSettings

GRPO = GrpoSettings(learning_rate=2e-3, batch_size=3, lora_rank=4, lora_alpha=16, catalogue_refresh=4)


class Interrupted(Exception):
    pass


def interrupt_after(update: int) -> Callable[[UpdateMetrics], None]:
    def check(metrics: UpdateMetrics) -> None:
        if metrics.update == update:
            raise Interrupted

    return check


def weights_of(result: TrainResult[Any]) -> dict[str, Tensor]:
    return load_file(result.adapter / "adapter_model.safetensors")


def split(settings: dict[str, Any]) -> tuple[RunSettings, Callbacks]:
    """Settings and callbacks from one set of keywords."""
    callbacks = {name: settings.pop(name) for name in list(settings) if name.startswith("on_")}
    return RunSettings(**settings), Callbacks(**callbacks)


@pytest.fixture
def run(policy: Policy, dataset: Dataset, rollouts: RolloutSettings, tmp_path: Path) -> Callable[..., TrainResult[Any]]:
    def run(**changes: Any) -> TrainResult[Any]:
        settings = {"rows": range(7), "rollouts": rollouts, "grpo": GRPO, "out": tmp_path / "run", **changes}
        return train(policy, dataset, *split(settings))

    return run


@pytest.mark.slow
def test_the_mean_reward_rises_on_a_set_that_can_be_learned(
    run: Callable[..., TrainResult[Any]], rollouts: RolloutSettings
) -> None:
    grpo = GRPO.model_copy(update={"batch_size": 6, "lora_rank": 8, "catalogue_refresh": 1})
    smooth = rollouts.model_copy(update={"group_size": 8, "tau": 0.1})
    result = run(rows=range(6), rollouts=smooth, grpo=grpo, updates=40)
    rewards = [each.reward_mean for each in result.metrics]
    assert sum(rewards[-8:]) / 8 > rewards[0] + 0.08


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(
    run: Callable[..., TrainResult[Any]], tmp_path: Path, dropout: float
) -> None:
    grpo = GRPO.model_copy(update={"lora_dropout": dropout})
    whole = run(grpo=grpo, epochs=3, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(grpo=grpo, epochs=3, checkpoint_every=2, on_update=interrupt_after(7))
    seen: list[int] = []
    resumed = run(grpo=grpo, epochs=3, checkpoint_every=2, on_update=lambda metrics: seen.append(metrics.update))
    assert seen == [7, 8, 9]
    expected = weights_of(whole)
    assert any(tensor.abs().max() > 0 for name, tensor in expected.items() if "lora_B" in name)
    torch.testing.assert_close(weights_of(resumed), expected, rtol=1e-6, atol=1e-9)
    timeless = ("seconds", "tokens_per_second", "generation_share", "catalogue_seconds")
    for ours, theirs in zip(resumed.metrics, whole.metrics, strict=True):
        numbers = {name: value for name, value in vars(theirs).items() if name not in timeless}
        assert {name: getattr(ours, name) for name in numbers} == pytest.approx(numbers, rel=1e-5, abs=1e-7)


def test_resuming_a_finished_run_returns_it(run: Callable[..., TrainResult[Any]]) -> None:
    first = run()
    before = weights_of(first)

    def refuse(metrics: UpdateMetrics) -> None:
        raise AssertionError(f"update {metrics.update} was done twice")

    again = run(on_update=refuse)
    torch.testing.assert_close(weights_of(again), before, rtol=0, atol=0)
    assert again.metrics == first.metrics


def test_without_resume_a_run_starts_over(run: Callable[..., TrainResult[Any]]) -> None:
    run(updates=2)
    seen: list[int] = []
    run(updates=1, resume=False, on_update=lambda metrics: seen.append(metrics.update))
    assert seen == [1]


def test_a_checkpoint_of_another_run_is_refused_by_name(run: Callable[..., TrainResult[Any]]) -> None:
    run(updates=1)
    lean = GRPO.model_copy(update={"gradient_checkpointing": True, "micro_batch_tokens": 200})
    assert run(updates=2, grpo=lean).updates == 2, "how much memory it takes does not make it another run"
    with pytest.raises(ValueError, match="checkpoint-000002 belongs to a run with other grpo, samples; resume with"):
        run(updates=3, rows=range(6), grpo=GRPO.model_copy(update={"learning_rate": 1e-4}))


def test_half_a_checkpoint_is_not_taken_for_one(
    run: Callable[..., TrainResult[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(updates=1)

    def die(*_: object, **__: object) -> None:
        raise Interrupted

    monkeypatch.setattr("minirec.training.checkpoint.os.rename", die)
    with pytest.raises(Interrupted):
        run(updates=2)
    latest = latest_checkpoint(tmp_path / "run")
    assert latest is not None
    assert latest.name == "checkpoint-000001"
    monkeypatch.undo()
    assert run(updates=2).updates == 2
    assert [folder.name for folder in sorted((tmp_path / "run").iterdir())] == ["adapter", "checkpoint-000002"]


@pytest.mark.parametrize(
    ("schedule", "expected"), [("linear", [1.0, 0.75, 0.5, 0.25]), ("constant", [1.0, 1.0, 1.0, 1.0])]
)
def test_the_learning_rate_follows_its_schedule_across_an_interruption(
    run: Callable[..., TrainResult[UpdateMetrics]],
    monkeypatch: pytest.MonkeyPatch,
    schedule: str,
    expected: list[float],
) -> None:
    rates: list[float] = []
    update = learner.Learner.update

    def spy(self: learner.Learner, *arguments: Any) -> learner.Learned:
        rates.append(self.optimizer.param_groups[0]["lr"] / self.grpo.learning_rate)
        return update(self, *arguments)

    monkeypatch.setattr(learner.Learner, "update", spy)
    grpo = GRPO.model_copy(update={"learning_rate_schedule": schedule})
    with pytest.raises(Interrupted):
        run(grpo=grpo, updates=4, checkpoint_every=1, on_update=interrupt_after(2))
    run(grpo=grpo, updates=4, checkpoint_every=1)
    assert rates == pytest.approx(expected)


def test_a_falling_rate_belongs_to_one_length_of_a_run(run: Callable[..., TrainResult[UpdateMetrics]]) -> None:
    grpo = GRPO.model_copy(update={"learning_rate_schedule": "linear"})
    run(grpo=grpo, updates=2)
    with pytest.raises(ValueError, match="other updates"):
        run(grpo=grpo, updates=3)


def test_targets_are_compared_with_other_items_in_every_update_the_same_ones_for_the_same_seed(
    run: Callable[..., TrainResult[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int] | None] = []
    update = learner.Learner.update

    def spy(self: learner.Learner, *arguments: Any) -> learner.Learned:
        seen.append(arguments[-1])
        return update(self, *arguments)

    monkeypatch.setattr(learner.Learner, "update", spy)
    for negatives in (2, 2, 100, None):
        run(grpo=GRPO.model_copy(update={"item_negatives": negatives}), updates=4, resume=False)
    few, again, all_items, none = seen[:4], seen[4:8], seen[8:12], seen[12:]
    assert few == again
    assert len({tuple(drawn or ()) for drawn in few}) > 1
    assert all(drawn is not None and len(set(drawn)) == 2 for drawn in few)
    assert [sorted(drawn or ()) for drawn in all_items] == 4 * [list(range(6))]
    assert none == 4 * [None]


def test_samples_come_in_the_order_given_in_every_epoch_and_none_is_left_out(
    run: Callable[..., TrainResult[Any]], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[str]] = []
    update = learner.Learner.update

    def spy(self: learner.Learner, samples: list[Sample], *arguments: Any) -> learner.Learned:
        batches.append([sample.id for sample in samples])
        return update(self, samples, *arguments)

    monkeypatch.setattr(learner.Learner, "update", spy)
    result = run(rows=[4, 0, 6, 2, 5, 1, 3], epochs=2)
    assert batches == 2 * [["s4", "s0", "s6"], ["s2", "s5", "s1"], ["s3"]]
    assert (result.updates, result.samples_seen) == (6, 14)


def test_metrics_are_what_they_say(run: Callable[..., TrainResult[Any]]) -> None:
    heard: list[UpdateMetrics] = []
    refreshed_after: set[int] = set()
    result = run(epochs=2, on_update=heard.append, on_progress=lambda _: refreshed_after.add(len(heard)))
    assert result.metrics == heard
    assert [(each.update, each.epoch, each.samples_seen) for each in heard] == [
        *[(1, 1, 3), (2, 1, 6), (3, 1, 7)],
        *[(4, 2, 10), (5, 2, 13), (6, 2, 14)],
    ]
    for each in heard:
        assert 0 <= each.reward_mean <= 1
        assert 0 <= each.ndcg10 <= each.hit_rate <= 1
        assert 0 < each.tokens <= 3 * 4 * 4
        assert 0 < each.generation_share < 1
        assert 0 <= each.catalogue_seconds < each.seconds
        assert each.tokens_per_second == pytest.approx(each.tokens / each.seconds)
        assert each.loss == pytest.approx(each.token_loss + each.item_loss)
        assert math.isfinite(each.grad_norm)
    assert refreshed_after == {0, 4}


def test_the_adapter_loads_as_a_policy_and_changes_it(
    load_tiny: Callable[..., Policy], dataset: Dataset, rollouts: RolloutSettings, models_root: Path
) -> None:
    policy = load_tiny()
    before = embed_items(policy, dataset.items)
    train(policy, dataset, RunSettings(rows=range(6), rollouts=rollouts, grpo=GRPO, out=models_root / "trained"))
    untouched = embed_items(policy, dataset.items)
    assert (before == untouched).all(), "training must leave the policy as it was"
    adapted = embed_items(load_tiny(adapter="trained/adapter"), dataset.items)
    assert abs(adapted - before).max() > 1e-4


def test_bfloat16_models_train_with_float32_adapters(
    load_tiny: Callable[..., Policy], dataset: Dataset, rollouts: RolloutSettings, tmp_path: Path
) -> None:
    policy = load_tiny(dtype="bfloat16")
    grpo = GRPO.model_copy(update={"gradient_checkpointing": True, "micro_batch_tokens": 300})
    result = train(policy, dataset, RunSettings(rows=range(6), rollouts=rollouts, grpo=grpo, out=tmp_path))
    weights = weights_of(result)
    assert policy.dtype == torch.bfloat16
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    moments = load_file(tmp_path / "checkpoint-000002" / "optimizer.safetensors")
    assert {tensor.dtype for tensor in moments.values()} == {torch.float32}
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_the_catalogue_can_be_interrupted(run: Callable[..., TrainResult[Any]]) -> None:
    def stop(done: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        run(on_progress=stop)


def test_runs_that_cannot_teach_are_refused(run: Callable[..., TrainResult[Any]], rollouts: RolloutSettings) -> None:
    with pytest.raises(ValueError, match="no samples"):
        run(rows=[])
    with pytest.raises(ValueError, match="group_size must be at least 2"):
        run(rollouts=rollouts.model_copy(update={"group_size": 1}))
