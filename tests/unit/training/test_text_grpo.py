"""GRPO on prompts with TRL's own trainer and a tiny model: the order, the checkpoints, what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minirec.api_schemas import EarlyStopping, GrpoSettings, RolloutSettings, TextReward
from minirec.data.dataset import PromptDataset
from minirec.data.ingest import ingest_prompts
from minirec.policy.load import load_policy, release_policy
from minirec.policy.policy import Policy
from minirec.policy.ranks import Ranks
from minirec.rewards import Scorer
from minirec.training import text_run
from minirec.training.evaluate_text import TextEvaluation
from minirec.training.settings import Callbacks, RunSettings
from minirec.training.text_grpo import train_text
from minirec.training.text_metrics import TextMetrics
from minirec.training.validation import Validation
from tests.builders import write_prompts

pytestmark = pytest.mark.slow

ROLLOUTS = RolloutSettings(group_size=3, max_new_tokens=8, temperature=1.0, top_k=0)
GRPO = GrpoSettings(batch_size=4, learning_rate=3e-3)
ROWS = [5, 0, 9, 3, 8, 1, 7]


class Digits(Scorer):
    """Pays for digits: what a random model says now and then, and can learn to say."""

    def __init__(self) -> None:
        super().__init__([TextReward(name="token_f1")])
        self.seen: list[str] = []

    def __call__(self, completion: str, row: Any) -> float:
        self.seen.append(row["id"])
        return sum(char.isdigit() for char in completion) / max(1, len(completion))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> PromptDataset:
    folder = tmp_path_factory.mktemp("prompts")
    return PromptDataset.open(ingest_prompts(write_prompts(folder), folder).path)


@pytest.fixture
def own_policy(policy: Policy) -> Policy:
    """A policy that TRL may do with as it likes."""
    assert policy.source is not None
    release_policy()
    return load_policy(policy.source, device="cpu")


def train(policy: Policy, prompts: PromptDataset, out: Path, **changes: Any) -> Any:
    scorer, ranks = changes.pop("scorer", Digits()), changes.pop("ranks", Ranks())
    callbacks = Callbacks(on_update=changes.pop("on_update", None), on_evaluation=changes.pop("on_evaluation", None))
    settings: dict[str, Any] = {"rows": ROWS, "rollouts": ROLLOUTS, "grpo": GRPO, "updates": 7, "out": out} | changes
    return train_text(policy, prompts, scorer, RunSettings(**settings), callbacks, ranks=ranks)


def test_prompts_come_in_their_order_and_none_is_dropped(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    scorer = Digits()
    done = train(own_policy, prompts, tmp_path, scorer=scorer, updates=4)
    order = [prompts.ids[row] for row in ROWS]
    # Batches of 4 run on across the end of an epoch of 7.
    assert scorer.seen[::3] == (order * 3)[:16]
    assert [scorer.seen[n] for n in range(48)] == [name for name in (order * 3)[:16] for _ in range(3)]
    assert [metrics.epoch for metrics in done.metrics] == [1, 1, 2, 2]
    assert done.samples_seen == 16


def test_epochs_cover_every_prompt(own_policy: Policy, prompts: PromptDataset, tmp_path: Path) -> None:
    scorer = Digits()
    done = train(own_policy, prompts, tmp_path, scorer=scorer, updates=None, epochs=1)
    assert done.updates == 2
    assert {prompts.ids[row] for row in ROWS} <= set(scorer.seen)


def test_a_killed_run_ends_with_the_adapter_of_an_undisturbed_one(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    validation = Validation([6, 14, 22], every=3)
    expected = train(own_policy, prompts, tmp_path / "whole", validation=validation)
    heard: list[int] = []

    def dies(metrics: TextMetrics) -> None:
        heard.append(metrics.update)
        if metrics.update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(own_policy, prompts, tmp_path / "cut", validation=validation, on_update=dies)
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-000005"]
    scorer = Digits()
    resumed = train(
        own_policy,
        prompts,
        tmp_path / "cut",
        validation=validation,
        scorer=scorer,
        on_update=lambda metrics: heard.append(metrics.update),
    )
    assert heard == [1, 2, 3, 4, 5, 6, 7]
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (resumed, expected))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-4)
    assert resumed.evaluations == expected.evaluations
    assert [entry["update"] for entry in resumed.evaluations] == [0, 3, 6, 7]
    assert [metrics.reward_mean for metrics in resumed.metrics] == [metrics.reward_mean for metrics in expected.metrics]


def test_a_run_that_is_killed_before_its_first_update_does_not_evaluate_again(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    heard: list[int] = []

    class Dies(Digits):
        def __call__(self, completion: str, row: Any) -> float:
            if row["id"] == prompts.ids[ROWS[0]]:
                raise KeyboardInterrupt
            return super().__call__(completion, row)

    validation = Validation([6, 14], every=3)
    with pytest.raises(KeyboardInterrupt):
        train(own_policy, prompts, tmp_path, validation=validation, scorer=Dies())
    done = train(
        own_policy, prompts, tmp_path, validation=validation, on_evaluation=lambda update, _: heard.append(update)
    )
    assert heard == [3, 6, 7]
    assert [entry["update"] for entry in done.evaluations] == [0, 3, 6, 7]


def test_a_run_that_shall_end_where_it_was_killed_evaluates_what_it_had_learned(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    def dies(metrics: TextMetrics) -> None:
        if metrics.update == 5:
            raise KeyboardInterrupt

    validation, grpo = Validation([6, 14], every=9), GRPO.model_copy(update={"learning_rate": 1e-2})
    with pytest.raises(KeyboardInterrupt):
        train(own_policy, prompts, tmp_path / "cut", validation=validation, grpo=grpo, on_update=dies)
    resumed = train(own_policy, prompts, tmp_path / "cut", validation=validation, grpo=grpo, updates=5)
    straight = train(own_policy, prompts, tmp_path / "straight", validation=validation, grpo=grpo, updates=5)
    assert resumed.evaluations == straight.evaluations
    assert straight.evaluations[0]["reward_mean"] != straight.evaluations[1]["reward_mean"], "this proves nothing"


def test_weights_that_diverge_end_the_run_and_leave_no_checkpoint(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    wild = GRPO.model_copy(update={"learning_rate": 0.99, "max_grad_norm": 1e30})
    with pytest.raises(ValueError, match="not finite"):
        train(own_policy, prompts, tmp_path, grpo=wild, updates=50, checkpoint_every=1)
    kept = load_file(next(tmp_path.glob("checkpoint-*")) / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_it_learns_what_pays(own_policy: Policy, prompts: PromptDataset, tmp_path: Path) -> None:
    done = train(own_policy, prompts, tmp_path, updates=25, grpo=GRPO.model_copy(update={"learning_rate": 1e-2}))
    first = sum(metrics.reward_mean for metrics in done.metrics[:5]) / 5
    last = sum(metrics.reward_mean for metrics in done.metrics[-5:]) / 5
    assert last > 2 * first, [metrics.reward_mean for metrics in done.metrics]


def test_the_best_adapter_is_kept_and_training_stops(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([0.1, 0.5, 0.4, 0.3])
    heard: list[tuple[int, float]] = []
    monkeypatch.setattr(text_run, "evaluate_text", lambda *_, **__: TextEvaluation(3, next(found), 0.0))
    done = train(
        own_policy,
        prompts,
        tmp_path / "long",
        validation=Validation([6], every=2, stopping=EarlyStopping(patience=2)),
        updates=20,
        on_evaluation=lambda update, evaluation: heard.append((update, evaluation.reward_mean)),
    )
    assert (done.updates, done.best_update, done.stopped_early) == (6, 2, True)
    assert heard == [(0, 0.1), (2, 0.5), (4, 0.4), (6, 0.3)]
    short = train(own_policy, prompts, tmp_path / "short", updates=2)
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (done, short))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


@pytest.mark.parametrize("bound", [40, 100_000])
def test_micro_batches_change_memory_and_not_the_adapter(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path, bound: int
) -> None:
    plain = train(own_policy, prompts, tmp_path / "plain", updates=3)
    bounded = train(
        own_policy, prompts, tmp_path / "bound", updates=3, grpo=GRPO.model_copy(update={"micro_batch_tokens": bound})
    )
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (bounded, plain))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-2)


def test_the_policy_is_left_as_it_was(own_policy: Policy, prompts: PromptDataset, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in own_policy.model.state_dict().items()}
    train(own_policy, prompts, tmp_path, updates=1)
    after = own_policy.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_of_another_run_is_refused(own_policy: Policy, prompts: PromptDataset, tmp_path: Path) -> None:
    train(own_policy, prompts, tmp_path, updates=1)
    with pytest.raises(ValueError, match="belongs to a run with other prompts"):
        train(own_policy, prompts, tmp_path, rows=[1, 2], updates=2)


def test_answers_that_do_not_divide_among_the_processes_are_an_error(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path
) -> None:
    odd = GRPO.model_copy(update={"batch_size": 1})
    with pytest.raises(ValueError, match="1 prompts with 3 answers each do not divide among 2 processes"):
        train(own_policy, prompts, tmp_path, grpo=odd, ranks=Ranks(0, 2))


def test_trl_prompts_as_scoring_does(
    own_policy: Policy, prompts: PromptDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock for the template, and a system turn where the template takes it."""
    template = (
        "{% if strftime_now('%d %m') != '01 01' %}{{ raise_exception('the clock') }}{% endif %}"
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    monkeypatch.setattr(own_policy.tokenizer, "chat_template", template + str(own_policy.tokenizer.chat_template))
    given = prompts.prompt

    def with_system(row: int) -> Any:
        prompt = given(row)
        return replace(prompt, messages=({"role": "system", "content": "Be short."}, *prompt.messages))

    monkeypatch.setattr(prompts, "prompt", with_system)
    assert train(own_policy, prompts, tmp_path, updates=1).updates == 1
