"""A real vLLM server as the engine: `make engines-test`, which has it in an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from minirec.api_schemas import EngineServer, RolloutSettings
from minirec.api_schemas.models import ModelReference
from minirec.data.dataset import Prompt
from minirec.policy.answers import TextTranscripts, answer
from minirec.policy.engine_server import ServerEngine
from minirec.policy.errors import ModelRefused
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.reference import resolve
from minirec.policy.rollouts import Sampling, roll_out
from minirec.policy.tiny import train_tokenizer
from minirec.rewards import Scorer
from minirec.settings import Settings
from minirec.worker.runner import Runner
from tests.api.processes import free_port
from tests.builders import ADJECTIVES, GENRES
from tests.worker.bench import Bench

VLLM = os.environ.get("MINIREC_ENGINES_TEST")
"""The Python of an environment that has vLLM."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not VLLM, reason="needs a vLLM server: run `make engines-test`"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with heads of 32, the least that vLLM takes on a CPU, another one, and an adapter."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([f"{word} {genre}" for word in ADJECTIVES for genre in GENRES], 512)
    for seed, name in enumerate(("tiny", "other")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=2048,
            initializer_range=0.2,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    lora = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    base = AutoModelForCausalLM.from_pretrained(folder / "tiny")
    get_peft_model(base, lora).save_pretrained(folder / "lora")
    return folder


class Vllm:
    """The server's process, which can be killed and started again on the same port."""

    def __init__(self, model: Path, home: Path) -> None:
        self.model, self.home, self.port = model, home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        home = {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home), "VLLM_CACHE_ROOT": str(self.home)}
        more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
        options = [
            "--enforce-eager",
            # On CPUs vLLM 0.32 stops when it splits the prompt of a request with a seed.
            "--no-enable-chunked-prefill",
            "--dtype",
            "float32",
            "--max-model-len",
            "2048",
            "--enable-lora",
            "--max-lora-rank",
            "8",
        ]
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", "served"]
        self.log = (self.home / "log").open("a")
        self.process = subprocess.Popen(
            [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model), *options, *address],
            env=os.environ | home | more | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def wait(self) -> None:
        end = time.monotonic() + 600
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.home / "log").read_text()[-4000:]
            try:
                if httpx2.get(self.url + "/health").is_success:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError("vLLM did not start: " + (self.home / "log").read_text()[-4000:])

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def vllm(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    server = Vllm(models_dir / "tiny", tmp_path_factory.mktemp("vllm"))
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def policy(models_dir: Path, **reference: Any) -> Policy:
    asked = ModelReference.model_validate({"source": "local", "id": "tiny", "dtype": "float32"} | reference)
    return load_policy(resolve(asked, models_root=models_dir), device="cpu")


def agree(policy: Policy, url: str) -> None:
    """Greedy rollouts of the server are those of transformers."""
    rng, sampling = np.random.default_rng(0), Sampling.of(RolloutSettings())
    prompts = [rng.integers(3, 250, size).tolist() for size in (5, 40, 120)]
    ours = roll_out(policy, prompts, np.zeros((3, 1, 16)), sampling)
    with ServerEngine(policy, EngineServer(url=url)) as engine:
        theirs = engine.roll_out(policy, prompts, np.zeros((3, 1, 16)), sampling)
    assert theirs.tokens == ours.tokens
    torch.testing.assert_close(theirs.z, ours.z, atol=1e-4, rtol=1e-4)


def test_greedy_tokens_are_those_of_transformers(vllm: Vllm, models_dir: Path) -> None:
    agree(policy(models_dir), vllm.url)


def test_an_adapter_is_loaded_by_the_server(vllm: Vllm, models_dir: Path) -> None:
    agree(policy(models_dir, adapter={"source": "local", "id": "lora"}), vllm.url)


def test_greedy_answers_in_text_are_those_of_transformers(vllm: Vllm, models_dir: Path) -> None:
    ours, scorer, sampling = policy(models_dir), Scorer(()), Sampling.of(RolloutSettings())
    prompts = [Prompt.of({"id": str(n), "prompt": " ".join(GENRES[:n])}) for n in range(1, 6)]
    expected = answer(ours, prompts, np.zeros((5, 1, 48)), sampling, scorer)
    with ServerEngine(ours, EngineServer(url=vllm.url), ending=TextTranscripts) as engine:
        found = answer(ours, prompts, np.zeros((5, 1, 48)), sampling, scorer, server=engine)
    assert found.tokens == expected.tokens


def test_another_model_is_refused(vllm: Vllm, models_dir: Path) -> None:
    with pytest.raises(ModelRefused, match="is not the selection's model"):
        agree(policy(models_dir, id="other"), vllm.url)


def test_a_selection_survives_a_server_that_is_killed_in_mid_shard(bench: Bench, vllm: Vllm) -> None:
    bench.settings = Settings.model_validate(bench.settings.model_dump() | {"engine_urls": vllm.url})
    bench.runner = Runner(bench.store, bench.settings, bench.runner._stopping)
    likeliest = {"group_size": 2, "max_new_tokens": 64, "top_k": 1}
    ours = bench.create(rollouts=likeliest)
    bench.hear()
    killed = threading.Event()

    def kill_at_work() -> None:
        for _ in range(20_000):
            for line in httpx2.get(vllm.url + "/metrics").text.splitlines():
                if line.startswith("vllm:num_requests_running") and float(line.split()[-1]) > 2:
                    vllm.kill()
                    vllm.start()
                    killed.set()
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_at_work)
    thread.start()
    theirs = bench.create(rollouts=likeliest | {"engine": {"url": vllm.url}})
    bench.hear()
    thread.join()
    assert killed.is_set()
    np.testing.assert_allclose(bench.result(theirs)["rewards"], bench.result(ours)["rewards"], atol=1e-5)
