"""vLLM as the rollout engine: what it is asked, and what is made of its answers.

Where there is no vLLM, a stand-in with the names and result shapes of vLLM 0.30 answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from minirec.api_schemas.models import ModelReference
from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.data.prompts import ANSWER
from minirec.policy import load, scoring, vllm_engine
from minirec.policy.catalogue import embed_items
from minirec.policy.policy import Policy
from minirec.policy.reference import ModelRefused, resolve
from minirec.policy.rollouts import Rollouts, Sampling, replay, roll_out, sampling_noise
from minirec.policy.scoring import score_samples
from minirec.policy.vllm_engine import roll_out_vllm

SAMPLING = Sampling(temperature=1.5, top_k=200, top_p=0.9)
LIMIT = 10


@dataclass
class SamplingParams:
    """The fields of `vllm.SamplingParams` that are used, with its defaults."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    stop: list[str] = field(default_factory=list)
    include_stop_str_in_output: bool = False
    stop_token_ids: list[int] = field(default_factory=list)
    skip_special_tokens: bool = True


@dataclass
class CompletionOutput:
    token_ids: Sequence[int]
    finish_reason: str | None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


Answer = Callable[[list[int], SamplingParams], CompletionOutput]


@dataclass
class StandIn:
    """A module `vllm`, what its engines were built with and asked, and how they answer."""

    answer: Answer
    built: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[list[int], SamplingParams, Any]] = field(default_factory=list)
    adapters: list[Any] = field(default_factory=list)
    stopped: int = 0

    def llm(self, **arguments: Any) -> StandIn:
        self.built.append(arguments)
        return self

    @property
    def llm_engine(self) -> StandIn:
        return self

    @property
    def engine_core(self) -> StandIn:
        return self

    def add_lora(self, adapter: Any) -> bool:
        self.adapters.append(adapter)
        return True

    def shutdown(self) -> None:
        self.stopped += 1

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool,
        lora_request: Any,
    ) -> list[RequestOutput]:
        requests = [
            (prompt["prompt_token_ids"], params) for prompt, params in zip(prompts, sampling_params, strict=True)
        ]
        self.asked += [(*request, lora_request) for request in requests]
        return [RequestOutput([self.answer(*request)]) for request in requests]

    def modules(self) -> dict[str, ModuleType]:
        names = ("vllm", "vllm.distributed", "vllm.lora", "vllm.lora.request")
        modules = {name: ModuleType(name) for name in names}
        vars(modules["vllm"]).update(LLM=self.llm, SamplingParams=SamplingParams, TokensPrompt=dict)
        vars(modules["vllm.distributed"]).update(cleanup_dist_env_and_memory=lambda: None)
        vars(modules["vllm.lora.request"]).update(LoRARequest=lambda *arguments: arguments)
        return modules


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A vLLM that says nothing, and a CUDA device to run it on."""
    fake = StandIn(answer=lambda prompt, params: CompletionOutput([], "stop"))
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    yield fake
    vllm_engine.release()


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[list[int]]:
    return [policy.tokenizer.encode(f"user: {text}") for text in ("Quiet River", "Golden Orchestra and more", "Last")]


def noise_for(prompts: Sequence[Any], *, rollouts: int = 3, seed: int = 1, length: int = LIMIT) -> np.ndarray:
    names = [f"s{index}" for index in range(len(prompts))]
    return np.stack([sampling_noise(name, seed=seed, rollouts=rollouts, length=length) for name in names])


def always(tokens: list[int], finish_reason: str, stop_reason: int | str | None = None) -> Answer:
    return lambda prompt, params: CompletionOutput(tuple(tokens), finish_reason, stop_reason)


def test_a_rollout_keeps_the_token_that_completes_the_answer_and_nothing_after_it(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn
) -> None:
    """vLLM stops by text: inside a token, or a token late where that ended within a character."""
    spelled = policy.tokenizer.convert_tokens_to_ids(list("z" + ANSWER))
    stand_in.answer = always([*spelled, *policy.tokenizer.encode("more")], "stop", ANSWER)
    rolled = roll_out_vllm(policy, prompts, noise_for(prompts, length=20), SAMPLING)
    assert rolled.tokens == [[spelled] * 3] * len(prompts)
    assert (rolled.sampled == len(spelled)).all()


def test_a_token_that_holds_more_than_the_end_of_the_answer_is_kept_whole(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    spelled = policy.tokenizer.convert_tokens_to_ids(list(ANSWER[:-1]))
    ending = len(policy.tokenizer)
    monkeypatch.setattr(policy, "closing_ids", frozenset({ending}), raising=False)
    monkeypatch.setattr(policy, "says_answer", lambda tokens: tokens[-1] == ending)
    monkeypatch.setattr(vllm_engine, "replay", lambda *_: (torch.zeros(len(prompts), 3, policy.hidden_size), 0))
    stand_in.answer = always([*spelled, ending], "stop", ANSWER)
    rolled = roll_out_vllm(policy, prompts, noise_for(prompts, length=20), SAMPLING)
    assert rolled.tokens == [[[*spelled, ending]] * 3] * len(prompts)


def test_the_end_of_turn_is_replaced_by_the_answer(policy: Policy, prompts: list[list[int]], stand_in: StandIn) -> None:
    filler, end = policy.tokenizer.encode("a")[0], policy.tokenizer.eos_token_id
    for tokens, stop_reason in (([filler, end], None), ([filler, end], end), ([filler], end)):
        stand_in.answer = always(tokens, "stop", stop_reason)
        rolled = roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)
        assert rolled.tokens == [[[filler, *policy.answer_ids]] * 3] * len(prompts)
        assert (rolled.sampled == 1).all()


def test_a_policy_that_never_answers_gets_the_answer_appended(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn
) -> None:
    filler = policy.tokenizer.encode("a")
    stand_in.answer = always(filler * LIMIT, "length")
    rolled = roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)
    assert rolled.tokens == [[filler * LIMIT + policy.answer_ids] * 3] * len(prompts)
    assert (rolled.sampled == LIMIT).all()


@pytest.mark.parametrize(("length", "reason"), [(4, "length"), (4, "abort"), (LIMIT, "error"), (0, None)])
def test_a_rollout_that_vllm_could_not_finish_is_no_rollout(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn, length: int, reason: str | None
) -> None:
    stand_in.answer = lambda prompt, params: CompletionOutput(policy.tokenizer.encode("a") * length, reason)
    with pytest.raises(RuntimeError, match=f"{length} of {LIMIT} tokens"):
        roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)


def test_every_rollout_is_a_request_with_a_seed_of_its_own(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn
) -> None:
    roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)
    assert [prompt for prompt, _, _ in stand_in.asked] == [prompt for prompt in prompts for _ in range(3)]
    seeds = [params.seed for _, params, _ in stand_in.asked]
    assert len(set(seeds)) == len(seeds)
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
    for _, params, adapter in stand_in.asked:
        assert (params.temperature, params.top_k, params.top_p, params.max_tokens) == (1.5, 200, 0.9, LIMIT)
        assert (params.stop, params.include_stop_str_in_output, params.skip_special_tokens) == ([ANSWER], True, False)
        assert set(params.stop_token_ids) == policy.end_ids
        assert adapter is None


def test_the_seed_of_a_rollout_depends_on_the_seed_and_the_sample_alone(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn
) -> None:
    noise = noise_for(prompts)
    roll_out_vllm(policy, prompts, noise, SAMPLING)
    together = [params.seed for _, params, _ in stand_in.asked]
    stand_in.asked.clear()
    for index in (2, 0, 1):
        roll_out_vllm(policy, prompts[index : index + 1], noise[index : index + 1], SAMPLING)
    assert [params.seed for _, params, _ in stand_in.asked] == together[6:] + together[:6]
    stand_in.asked.clear()
    roll_out_vllm(policy, prompts, noise_for(prompts, seed=2), SAMPLING)
    assert not set(together) & {params.seed for _, params, _ in stand_in.asked}


def test_zero_noise_asks_for_the_likeliest_tokens(policy: Policy, prompts: list[list[int]], stand_in: StandIn) -> None:
    noise = np.concatenate([noise_for(prompts), np.zeros((len(prompts), 1, LIMIT))], axis=1)
    roll_out_vllm(policy, prompts, noise, SAMPLING)
    assert [params.temperature for _, params, _ in stand_in.asked] == [1.5, 1.5, 1.5, 0.0] * len(prompts)


def test_z_is_that_of_the_other_engine_for_the_same_tokens(policy: Policy, prompts: list[list[int]]) -> None:
    noise = noise_for(prompts, rollouts=2)
    short, long = (roll_out(policy, prompts, noise[:, :, :length], SAMPLING) for length in (3, LIMIT))
    tokens = [few + many for few, many in zip(short.tokens, long.tokens, strict=True)]
    z, processed = replay(policy, prompts, tokens)
    torch.testing.assert_close(z, torch.cat([short.z, long.z], dim=1), rtol=1e-4, atol=1e-5)
    longest = max(len(said) for rollouts in tokens for said in rollouts)
    assert min(len(said) for rollouts in tokens for said in rollouts) < longest
    assert processed == len(prompts) * max(map(len, prompts)) + len(prompts) * 4 * longest


@pytest.mark.parametrize("profile", ["minirec", "paper"])
def test_the_scores_are_those_of_the_other_engine_for_the_same_tokens(
    policy: Policy,
    items: list[dict[str, Any]],
    samples: list[Sample],
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    profile: Any,
) -> None:
    settings = RolloutSettings(max_new_tokens=LIMIT, ndcg_k=40)
    sampled: dict[tuple[tuple[int, ...], int], list[int]] = {}

    def recording(policy: Policy, prompts: Sequence[list[int]], noise: np.ndarray, *rest: Any) -> Rollouts:
        rolled = roll_out(policy, prompts, noise, *rest)
        for prompt, rows, tokens, counts in zip(prompts, noise, rolled.tokens, rolled.sampled, strict=True):
            for row, said, count in zip(rows, tokens, counts, strict=True):
                sampled[tuple(prompt), int(row[0] * 2**53)] = said[:count]
        return rolled

    monkeypatch.setattr(scoring, "roll_out", recording)
    stand_in.answer = lambda prompt, params: CompletionOutput(sampled[tuple(prompt), params.seed or 0], "stop")
    catalogue = embed_items(policy, items)
    theirs = score_samples(policy, catalogue, items, samples, rollouts=settings, profile=profile)
    assert stand_in.asked == []
    with_vllm = settings.model_copy(update={"engine": "vllm"})
    ours = score_samples(policy, catalogue, items, samples, rollouts=with_vllm, profile=profile)
    assert len(stand_in.asked) == len(samples) * (4 + (profile == "paper"))
    for name in (part.name for part in fields(ours)):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-3, err_msg=name)


def test_an_engine_is_built_once_per_model_and_stopped_before_the_next_model_is_loaded(
    models_root: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_kept", {})
    first = load.load_policy(tiny(models_root), device="cpu")
    prompt = first.tokenizer.encode("Quiet River")
    for _ in range(2):
        roll_out_vllm(first, [prompt], noise_for([prompt]), SAMPLING)
    assert [(built["model"], built["dtype"]) for built in stand_in.built] == [(str(models_root / "tiny"), "float32")]
    before = stand_in.stopped
    load.load_policy(replace(tiny(models_root), dtype="bfloat16"), device="cpu")
    assert (before, stand_in.stopped) == (0, 1)
    roll_out_vllm(load.load_policy(tiny(models_root), device="cpu"), [prompt], noise_for([prompt]), SAMPLING)
    assert len(stand_in.built) == 2


def tiny(models_root: Path) -> Any:
    return resolve(ModelReference(source="local", id="tiny"), models_root=models_root)


def with_adapter(policy: Policy, folder: Path, **config: Any) -> Policy:
    """The policy, said to have been loaded with an adapter of this configuration."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert policy.source is not None
    source = replace(policy.source, adapter_path=folder, adapter_revision="1")
    return Policy(policy.model, policy.tokenizer, source=source)


@pytest.mark.parametrize(
    ("config", "room"), [({"r": 4}, 8), ({"r": 64}, 64), ({"r": 8, "rank_pattern": {"q_proj": 100}}, 128)]
)
def test_the_adapter_goes_along_with_every_request(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn, tmp_path: Path, config: dict[str, Any], room: int
) -> None:
    adapted = with_adapter(policy, tmp_path / "adapter", peft_type="LORA", **config)
    roll_out_vllm(adapted, prompts, noise_for(prompts), SAMPLING)
    assert stand_in.built[0]["enable_lora"]
    assert stand_in.built[0]["max_lora_rank"] == room
    adapter = ("adapter", 1, str(tmp_path / "adapter"))
    assert stand_in.adapters == [adapter]
    assert all(sent == adapter for _, _, sent in stand_in.asked)


@pytest.mark.parametrize("config", [{"peft_type": "LOHA", "r": 4}, {"peft_type": "LORA", "r": 1024}])
def test_an_adapter_that_vllm_does_not_take_is_refused(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn, tmp_path: Path, config: dict[str, Any]
) -> None:
    adapted = with_adapter(policy, tmp_path / "adapter", **config)
    with pytest.raises(ModelRefused, match="LoRA adapters up to rank 512") as refused:
        roll_out_vllm(adapted, prompts, noise_for(prompts), SAMPLING)
    assert refused.value.code == "adapter_mismatch"
    assert stand_in.built == []


def test_a_model_that_vllm_does_not_take_is_refused_with_its_reason(
    policy: Policy, prompts: list[list[int]], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ValueError("Model architectures ['Tiny'] are not supported")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", refuse)
    with pytest.raises(ModelRefused, match="'Tiny'.*engine 'transformers'") as refused:
        roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)
    assert refused.value.code == "engine_unavailable"


@pytest.mark.parametrize(("cuda", "reason"), [(False, "no CUDA device"), (True, "cannot be imported")])
def test_a_worker_without_vllm_or_cuda_says_what_to_install(
    policy: Policy, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch, cuda: bool, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelRefused, match=f"{reason}.*pip install 'minirec\\[worker,vllm\\]'") as refused:
        roll_out_vllm(policy, prompts, noise_for(prompts), SAMPLING)
    assert refused.value.code == "engine_unavailable"


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: pip install 'minirec[worker,vllm]'")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="vLLM needs a CUDA device, and there is none")
def test_vllm_itself_rolls_out_as_transformers_would(models_root: Path) -> None:
    """The same greedy tokens but for near-ties, the same tokens again for the same seed, z from those tokens."""
    policy = load.load_policy(tiny(models_root))
    prompts = [policy.tokenizer.encode(f"user: {text}") for text in ("Quiet River", "Golden Orchestra and more")]
    noise = np.concatenate([noise_for(prompts), np.zeros((len(prompts), 1, LIMIT))], axis=1)
    try:
        ours = roll_out_vllm(policy, prompts, noise, SAMPLING)
        again = roll_out_vllm(policy, prompts, noise, SAMPLING)
    finally:
        vllm_engine.release()
    theirs = roll_out(policy, prompts, noise, SAMPLING)
    assert ours.tokens == again.tokens
    for mine, other in zip(ours.tokens, theirs.tokens, strict=True):
        assert len({tuple(tokens) for tokens in mine[:3]}) == 3
        assert mine[3][0] == other[3][0]
        assert all(policy.says_answer(tokens) for tokens in mine)
    torch.testing.assert_close(ours.z, replay(policy, prompts, ours.tokens)[0])
