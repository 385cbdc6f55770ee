"""Rollouts by an inference server (vLLM's): it samples the tokens, and the policy reads z off them itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from minirec.api_schemas.selections import EngineServer
from minirec.data.prompts import ANSWER
from minirec.policy.batching import Opening, prefill
from minirec.policy.engine_client import PATIENCE, EngineClient, refused
from minirec.policy.errors import ModelRefused
from minirec.policy.policy import Policy
from minirec.policy.rollouts import Rollouts, Sampling, Transcripts, replay

TOLERANCE = {torch.float32: 0.02, torch.bfloat16: 0.5, torch.float16: 0.2}
"""By how much the log-probability of a token may differ between a server and the policy, if their weights are equal."""


class ServerEngine:
    """Samples rollouts of one policy by a server. Use it as a context: leaving it gives up what is under way."""

    def __init__(
        self,
        policy: Policy,
        server: EngineServer,
        *,
        patience: float = PATIENCE,
        ending: type[Transcripts] = Transcripts,
    ) -> None:
        self._policy, self._server, self._ending = policy, server, ending
        self._client = EngineClient(server.url, patience=patience)
        self._model: str | None = None
        self._ahead: dict[tuple[tuple[int, ...], float], Future[list[int]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def begin(self, prompts: Sequence[Sequence[int]], noise: npt.NDArray[np.float64], sampling: Sampling) -> None:
        """Start sampling rollouts that will be asked for, so that the server is busy while others are measured.

        Args:
            prompts: Tokens of each of B prompts.
            noise: (B, R, T), as for `roll_out`.
            sampling: How a token is drawn.

        Raises:
            ModelRefused: `engine_mismatch` where the server has another model, `engine_refused` where it cannot do
                what is asked.
            EngineUnreachable: It is away, or too busy.
        """
        if self._model is None:
            self._model = self._find_model()
            self._check_weights(prompts[0])
        for prompt, rows in zip(prompts, noise, strict=True):
            for row in rows:
                key = (tuple(prompt), float(row[0]))
                if key not in self._ahead:
                    self._ahead[key] = self._client.submit("/v1/completions", self._request(prompt, row, sampling))

    def roll_out(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        noise: npt.NDArray[np.float64],
        sampling: Sampling,
        opening: Opening | None = None,
    ) -> Rollouts:
        """Sample rollouts of B prompts with the arguments and rules of `roll_out`; the first noise is the seed.

        Args:
            policy: The engine's own.
            prompts: Tokens of each prompt.
            noise: (B, R, T).
            sampling: How a token is drawn.
            opening: What all prompts begin with, where it was computed before.

        Raises:
            ModelRefused: As for `begin`.
            EngineUnreachable: As for `begin`.
        """
        count, repeats, _ = noise.shape
        transcripts = self.sample(prompts, noise, sampling)
        tokens = transcripts.by_prompt(repeats)
        z, processed = replay(policy, prompts, tokens, opening)
        return Rollouts(z, tokens, transcripts.sampled().reshape(count, repeats), processed)

    def sample(
        self, prompts: Sequence[Sequence[int]], noise: npt.NDArray[np.float64], sampling: Sampling
    ) -> Transcripts:
        """Sample rollouts of B prompts and return their tokens, B * R rollouts. Arguments and errors as of `begin`."""
        count, repeats, limit = noise.shape
        self.begin(prompts, noise, sampling)
        drawn = [self._take(prompt, row, sampling) for prompt, rows in zip(prompts, noise, strict=True) for row in rows]
        transcripts = self._ending(self._policy, count * repeats, limit)
        transcripts.follow(drawn)
        return transcripts

    def _take(self, prompt: Sequence[int], row: npt.NDArray[np.float64], sampling: Sampling) -> list[int]:
        answer: Any = self._ahead.pop((tuple(prompt), float(row[0])), None)
        request = self._request(prompt, row, sampling)
        try:
            answer = self._client.call("POST", "/v1/completions", request) if answer is None else answer.result()
        except ModelRefused as error:
            if error.status != 404:
                raise
            # The server was started anew, without the adapter that it had been given.
            self._model = self._find_model()
            answer = self._client.call("POST", "/v1/completions", request)
        return self._tokens(_choice(answer), len(row))

    def _request(self, prompt: Sequence[int], row: npt.NDArray[np.float64], sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self._model,
            "prompt": list(prompt),
            "max_tokens": len(row),
            "temperature": sampling.temperature if row.any() else 0.0,
            "top_k": sampling.top_k or -1,
            "top_p": sampling.top_p,
            # Left out, they would be those of the model's generation_config.json.
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": int(row[0] * 2**53),
            "stop_token_ids": sorted(self._policy.end_ids),
            "skip_special_tokens": False,
            "return_token_ids": True,
        } | ({"stop": [ANSWER], "include_stop_str_in_output": True} if self._ending.APPENDS else {})

    def _tokens(self, choice: dict[str, Any], limit: int) -> list[int]:
        tokens, reason = choice.get("token_ids"), choice.get("finish_reason")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise refused(f"{self._server.url} does not return token ids (return_token_ids); vLLM 0.32 does")
        if reason not in ("stop", "length") or (reason == "length" and len(tokens) < limit):
            raise refused(
                f"{self._server.url} ended a rollout after {len(tokens)} of {limit} tokens ({reason}). Start it with a "
                "larger --max-model-len, or lower rollouts.max_new_tokens"
            )
        if reason == "stop" and not self._ending.APPENDS and not self._policy.end_ids.intersection(tokens[-1:]):
            raise refused(f"{self._server.url} leaves out the token that ends a turn; vLLM 0.32 returns it")
        return tokens

    def _find_model(self) -> str:
        """Return the name under which the server has the policy, adapter included; load that where it is missing."""
        listed = self._client.call("GET", "/v1/models")
        try:
            entries = {entry["id"]: entry.get("parent") for entry in listed["data"]}
        except (TypeError, KeyError, AttributeError) as error:
            raise refused(f"{self._server.url}/v1/models does not list models") from error
        base = [name for name, parent in entries.items() if parent is None]
        name = self._server.model or (base[0] if len(base) == 1 else None)
        if name not in entries:
            raise ModelRefused(
                "engine_mismatch",
                f"rollouts.engine.model {name!r} is not served at {self._server.url}; there is {sorted(entries)}.",
            )
        source = self._policy.source
        if source is None or source.adapter_path is None:
            return str(name)
        adapter = "minirec-" + hashlib.sha256(source.fingerprint().encode()).hexdigest()[:24]
        if adapter not in entries:
            self._load_adapter(adapter, str(source.adapter_path))
        return adapter

    def _load_adapter(self, name: str, path: str) -> None:
        try:
            self._client.call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except ModelRefused as error:
            if "already been loaded" in str(error):
                return  # by another worker
            raise refused(
                f"{self._server.url} did not load the adapter in {path}. It must see that folder under the same path, "
                "and be started with --enable-lora, a --max-lora-rank that is large enough and "
                f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1. It says: {error}"
            ) from error

    def _check_weights(self, prompt: Sequence[int]) -> None:
        """Compare the likeliest token after a prompt, and its log-probability, with the policy's own."""
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": list(prompt),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
        }
        body["repetition_penalty"] = 1.0
        choice = _choice(self._client.call("POST", "/v1/completions", body | {"return_token_ids": True}))
        token = self._tokens(choice, 1)[0]
        said = float(choice["logprobs"]["token_logprobs"][0])
        with torch.inference_mode():
            own = torch.log_softmax(prefill(self._policy, [prompt], None).last.logits[0].float(), 0)
        if token >= len(own) or abs(said - float(own[token])) > TOLERANCE[self._policy.dtype]:
            ours = "not in its vocabulary" if token >= len(own) else f"{float(own[token]):.3f}"
            raise ModelRefused(
                "engine_mismatch",
                f"{self._model!r} at {self._server.url} is not the selection's model: after the first prompt it gives "
                f"token {token} the log-probability {said:.3f}, the model itself {ours}. Serve the same files in the "
                "same dtype.",
            )


def _choice(answer: Any) -> dict[str, Any]:
    try:
        choice = answer["choices"][0]
    except (TypeError, KeyError, IndexError) as error:
        raise refused("the server's answer has no choices: it is no OpenAI-compatible completion") from error
    return dict(choice)
