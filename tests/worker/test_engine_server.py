"""An inference server as the engine: a small one that speaks the protocol, and generates with a real tiny model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from minirec.api_schemas import EngineServer, RolloutSettings
from minirec.api_schemas.models import ModelReference
from minirec.data.dataset import Prompt
from minirec.engines import engine_allowed
from minirec.policy.answers import Answers, TextTranscripts, answer
from minirec.policy.engine_client import CONCURRENCY
from minirec.policy.engine_server import ServerEngine
from minirec.policy.errors import EngineUnreachable, ModelRefused
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import resolve
from minirec.policy.rollouts import Sampling, roll_out
from minirec.policy.tiny import build_tiny_model
from minirec.rewards import Scorer
from minirec.service.stored_views import Beside
from minirec.settings import Settings
from minirec.worker.runner import Runner
from tests.worker.bench import Bench

SAMPLING = Sampling.of(RolloutSettings())


class Server(ThreadingHTTPServer):
    """Answers completions with a model; `answers` go out first, instead: status, headers, body."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.lock, self.answers, self.bodies = threading.Lock(), list[tuple[int, dict[str, str], str]](), list[Any]()
        self.under_way = self.most = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = torch.tensor([body["prompt"]])
        how: dict[str, Any] = {"do_sample": False}
        if body["temperature"] and body["top_k"] != 1:
            torch.manual_seed(body["seed"])
            how = {"do_sample": True, "temperature": body["temperature"], "top_k": max(0, body["top_k"])}
        done = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=body["max_tokens"],
            eos_token_id=body.get("stop_token_ids") or [0],
            output_logits=True,
            return_dict_in_generate=True,
            **how,
        )
        tokens = done.sequences[0, prompt.shape[1] :].tolist()
        logprob = float(torch.log_softmax(done.logits[0][0], 0)[tokens[0]])
        reason = "length" if len(tokens) == body["max_tokens"] else "stop"
        return {"choices": [{"token_ids": tokens, "finish_reason": reason, "logprobs": {"token_logprobs": [logprob]}}]}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200, {}, json.dumps({"data": [{"id": "served", "parent": None}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.bodies.append(body)
        server.under_way += 1
        server.most = max(server.most, server.under_way)
        try:
            with server.lock:
                if "logprobs" not in body and server.answers:
                    self._answer(*server.answers.pop(0))
                else:
                    self._answer(200, {}, json.dumps(server.complete(body)))
        finally:
            server.under_way -= 1

    def _answer(self, status: int, headers: dict[str, str], text: str) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(models_dir: Path) -> Iterator[Server]:
    with Server(models_dir / "tiny") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def policy(models_dir: Path) -> Policy:
    reference = ModelReference(source="local", id="tiny", dtype="float32")
    return load_policy(resolve(reference, models_root=models_dir), device="cpu")


PROMPTS = [[5, 9, 20], [7, 8]]


def greedy(policy: Policy, url: str, **changes: Any) -> Any:
    patience = changes.pop("patience", 5.0)
    with ServerEngine(policy, EngineServer(url=url, **changes), patience=patience) as engine:
        return engine.roll_out(policy, PROMPTS, np.zeros((2, 1, 8)), SAMPLING)


def test_greedy_rollouts_are_those_of_transformers(policy: Policy, server: Server) -> None:
    ours, theirs = roll_out(policy, PROMPTS, np.zeros((2, 1, 8)), SAMPLING), greedy(policy, server.url)
    assert theirs.tokens == ours.tokens
    torch.testing.assert_close(theirs.z, ours.z, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_busy_server_is_asked_again(policy: Policy, server: Server, status: int) -> None:
    server.answers = [(status, {"Retry-After": "0.2"}, "later")] * 3
    assert greedy(policy, server.url).tokens == roll_out(policy, PROMPTS, np.zeros((2, 1, 8)), SAMPLING).tokens


def test_a_server_that_stays_busy_is_given_up(policy: Policy, server: Server) -> None:
    server.answers = [(503, {}, "no")] * 1000
    with pytest.raises(EngineUnreachable, match="for 1 seconds: it answers 503"):
        greedy(policy, server.url, patience=1.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((307, {"Location": "http://169.254.169.254/"}, ""), "redirects to another address"),
        ((400, {}, "max_tokens is too large"), "400: max_tokens is too large"),
        ((200, {}, "{}"), "no choices"),
        ((200, {}, '{"choices": [{"text": "a", "finish_reason": "stop"}]}'), "does not return token ids"),
        ((200, {}, '{"choices": [{"token_ids": [1], "finish_reason": "length"}]}'), "--max-model-len"),
        ((200, {}, "{broken"), "did not answer in JSON"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(policy: Policy, server: Server, answer: Any, words: str) -> None:
    server.answers = [answer] * 2
    with pytest.raises(ModelRefused, match=words) as refused:
        greedy(policy, server.url)
    assert refused.value.code == "engine_refused"


def test_another_model_is_refused(policy: Policy, server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"'other' is not served .* there is \['served'\]"):
        greedy(policy, server.url, model="other")
    server.model = AutoModelForCausalLM.from_pretrained(build_tiny_model(tmp_path / "m", texts=["a"], seed=1))
    with pytest.raises(ModelRefused, match="is not the selection's model: after the first prompt") as refused:
        greedy(policy, server.url)
    assert refused.value.code == "engine_mismatch"


def served(bench: Bench, server: Server, allowed: str) -> Bench:
    """The bench, whose worker may ask the servers that are allowed."""
    bench.settings = Settings.model_validate(bench.settings.model_dump() | {"engine_urls": allowed})
    bench.runner = Runner(bench.store, bench.settings, bench.runner._stopping)
    return bench


LIKELIEST = {"group_size": 2, "max_new_tokens": 6, "top_k": 1}


ASKED = [
    Prompt.of({"id": f"p{n}", "prompt": text}) for n, text in enumerate(("Noir No. 1", "Which drama is the best?"))
]


def answers(policy: Policy, server: ServerEngine | None, limit: int = 24) -> Answers:
    return answer(policy, ASKED, np.zeros((2, 1, limit)), SAMPLING, Scorer(()), server=server)


def test_greedy_answers_are_those_of_transformers(policy: Policy, server: Server) -> None:
    with ServerEngine(policy, EngineServer(url=server.url), ending=TextTranscripts) as engine:
        theirs = answers(policy, engine)
    ours = answers(policy, None)
    assert theirs.tokens == ours.tokens
    torch.testing.assert_close(theirs.prompt_z, ours.prompt_z, atol=1e-4, rtol=1e-4)
    assert not any("stop" in body for body in server.bodies), "an answer in text ends with its turn, not at <answer>"


def test_a_server_that_leaves_out_the_end_of_a_turn_is_refused(policy: Policy, server: Server) -> None:
    with ServerEngine(policy, EngineServer(url=server.url), ending=TextTranscripts) as engine:
        engine.sample(PROMPTS, np.zeros((2, 1, 8)), SAMPLING)
        server.answers = [(200, {}, '{"choices": [{"token_ids": [5, 6], "finish_reason": "stop"}]}')]
        with pytest.raises(ModelRefused, match="leaves out the token that ends a turn"):
            engine.sample([[5, 9, 21]], np.zeros((1, 1, 8)), SAMPLING)


@pytest.mark.slow
def test_a_selection_of_prompts_by_a_server_gets_the_texts_of_transformers(prompt_bench: Bench, server: Server) -> None:
    served(prompt_bench, server, server.url)
    engines: list[dict[str, Any]] = [{}, {"engine": {"url": server.url}}]
    jobs = [prompt_bench.create(rewards=[{"name": "token_f1"}], rollouts=LIKELIEST | more) for more in engines]
    prompt_bench.hear()
    ours, theirs = (prompt_bench.result(job) for job in jobs)
    np.testing.assert_allclose(theirs["rewards"], ours["rewards"], atol=1e-6)
    np.testing.assert_allclose(theirs["representativeness"], ours["representativeness"], atol=1e-4)
    texts = [
        [beside.texts(position) for position in range(30)]
        for beside in (Beside(prompt_bench.store, prompt_bench.store.jobs.get(job)) for job in jobs)
    ]
    assert texts[0] == texts[1]
    assert any(one.text for kept in texts[0] for one in kept)
    assert server.most > 8


@pytest.mark.slow
def test_a_selection_by_a_server_earns_the_rewards_of_transformers(bench: Bench, server: Server) -> None:
    served(bench, server, server.url)
    jobs = [bench.create(rollouts=LIKELIEST | more) for more in ({}, {"engine": {"url": server.url}})]
    bench.hear()
    ours, theirs = (bench.result(job)["rewards"] for job in jobs)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    # All rollouts of a shard were asked for at once, and each once.
    assert 16 < server.most <= CONCURRENCY
    assert len(server.bodies) == 48 * 2 + 3
    assert len({body["seed"] for body in server.bodies if "seed" in body}) == 48 * 2


def test_a_worker_asks_no_server_that_is_not_allowed(bench: Bench, server: Server) -> None:
    served(bench, server, server.url + "/other")
    job = bench.create(rollouts=LIKELIEST | {"engine": {"url": server.url}})
    bench.hear()
    assert bench.store.jobs.get(job).json("error")["code"] == "engine_not_allowed"
    assert not server.bodies


@pytest.mark.slow
def test_a_server_that_is_away_fails_the_attempt_by_name(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerEngine.__init__, "__kwdefaults__", {"patience": 0.2})
    away = "http://127.0.0.1:9"
    job = served(bench, server, away).create(rollouts=LIKELIEST | {"engine": {"url": away}})
    assert bench.hear().count("failed") >= bench.settings.max_attempts
    error = bench.store.jobs.get(job).json("error")
    assert (error["code"], error["retryable"]) == ("engine_unreachable", True)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://vllm:8000", True),
        ("http://vllm:8000/a/", True),
        ("http://vllm:80001", False),
        ("http://vllm", False),
        ("https://vllm:8000", False),
        ("http://vllm.evil:8000", False),
        ("http://vllm:8000@evil", False),
        ("http://vllm:8000\\@evil", False),
        ("http://proxy/team", True),
        ("http://proxy:80/team/x", True),
        ("http://proxy/teams", False),
        ("http://proxy/team/../admin", False),
        ("http://proxy/team/%2e%2e/admin", False),
        ("http://proxy/team?x", False),
    ],
)
def test_addresses_are_compared_part_by_part(url: str, allowed: bool) -> None:
    assert engine_allowed(url, ["http://vllm:8000", "http://proxy/team"]) is allowed
