"""Scoring samples in one rollout pass against a straightforward three-pass pipeline with Hugging Face `generate`.

    python benchmarks/scoring.py [MODEL_FOLDER] [--samples 16] [--new-tokens 32] [--threads 1] [--dtype float32]

The three passes, each in batches of all samples and with a key-value cache:
  1. rewards: `generate` with num_return_sequences=G, then one forward pass for z at `<answer>`;
  2. gradients: greedy `generate`, then a forward and a backward pass of the loss;
  3. embeddings: greedy `generate`, then a forward pass.
Model tokens are counted at the model's input on both sides, padding included. The floor is P + G * T: every prompt
token once, every token of a rollout once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from minirec.api_schemas.models import ModelReference
from minirec.api_schemas.selections import RolloutSettings
from minirec.data.dataset import Sample
from minirec.data.prompts import ANSWER
from minirec.data.wheels import cache_dir
from minirec.policy import scoring
from minirec.policy.catalogue import embed_items
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.prompts import user_prompt
from minirec.policy.reference import resolve
from minirec.policy.rollouts import Rollouts, roll_out
from minirec.policy.scoring import score_samples
from minirec.policy.smollm2 import fetch_smollm2

ITEMS = 500


@dataclass
class Tally:
    """What a stretch of work cost."""

    tokens: int = 0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


@contextmanager
def tally(policy: Policy) -> Iterator[Tally]:
    """Count tokens at the model's input, and time."""
    result = Tally()

    def count(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        result.tokens += arguments["input_ids"].numel()

    hook = policy.model.register_forward_pre_hook(count, with_kwargs=True)
    start = time.perf_counter()
    try:
        yield result
    finally:
        result.seconds = time.perf_counter() - start
        hook.remove()


def catalogue_of(size: int) -> list[dict[str, Any]]:
    """Titles as a shop has them, of varying length."""
    words = ["blue", "river", "night songs", "live at the", "garden", "best of", "hits", "volume", "remastered"]
    generator = np.random.default_rng(0)
    return [
        {"item_id": str(row), "title": " ".join(generator.choice(words, size=generator.integers(1, 6))).title()}
        for row in range(size)
    ]


def samples_of(count: int, n_items: int) -> list[Sample]:
    """Histories of 3 to 12 items with ratings and times."""
    generator = np.random.default_rng(1)
    samples = []
    for row in range(count):
        length = int(generator.integers(3, 13))
        chosen = [int(item) for item in generator.choice(n_items, size=length + 1, replace=False)]
        times = [float(day) * 86_400 for day in np.cumsum(generator.integers(1, 60, size=length + 1))]
        ratings = tuple(float(rating) for rating in generator.integers(3, 6, size=length))
        samples.append(
            Sample(str(row), tuple(chosen[:-1]), chosen[-1], times[-1], ratings, tuple(times[:-1]), None, None)
        )
    return samples


class ThreePasses:
    """What one writes first: `generate`, then a forward pass over its text, once per purpose."""

    def __init__(self, policy: Policy, vectors: torch.Tensor, settings: RolloutSettings) -> None:
        self.policy = policy
        self.vectors = vectors
        self.settings = settings

    def run(self, prompts: Sequence[list[int]], samples: Sequence[Sample]) -> dict[str, float]:
        group, seconds = self.settings.group_size, {}
        start = time.perf_counter()
        sampled = self.generate(prompts, do_sample=True, num_return_sequences=group)
        with torch.no_grad():
            self.log_p(self.states(sampled), [sample for sample in samples for _ in range(group)])
        seconds["rewards"] = time.perf_counter() - start
        self.policy.model.requires_grad_(True)
        z = self.states(self.generate(prompts, do_sample=False))
        (-self.log_p(z, samples)).sum().backward()  # type: ignore[no-untyped-call]
        self.policy.model.zero_grad()
        self.policy.model.requires_grad_(False)
        seconds["gradients"] = time.perf_counter() - start - sum(seconds.values())
        greedy = self.generate(prompts, do_sample=False)
        with torch.no_grad():
            self.states(greedy)
        seconds["embeddings"] = time.perf_counter() - start - sum(seconds.values())
        return seconds

    def generate(self, prompts: Sequence[list[int]], **options: Any) -> list[list[int]]:
        """Prompt and reasoning of every sequence, `<answer>` appended where it is missing."""
        policy, settings = self.policy, self.settings
        if options["do_sample"]:
            options |= {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p}
        ids, mask = self.padded(prompts)
        output = policy.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=settings.max_new_tokens,
            stop_strings=[ANSWER],
            tokenizer=policy.tokenizer,
            pad_token_id=policy.pad_id,
            **options,
        )
        ends, sequences = policy.end_ids | {policy.pad_id}, []
        for row, new in enumerate(output[:, ids.shape[1] :].tolist()):
            text = [token for token in new if token not in ends]
            prompt = prompts[row // options.get("num_return_sequences", 1)]
            sequences.append(prompt + text + ([] if policy.says_answer(text) else policy.answer_ids))
        return sequences

    def states(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """z of every sequence, from a forward pass over all of it."""
        ids, mask = self.padded(sequences)
        output = self.policy.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1)
        z: torch.Tensor = output.hidden_states[-1][:, -1].float()
        return z

    def log_p(self, z: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        scores = torch.nn.functional.normalize(z, dim=1) @ self.vectors.T / self.settings.tau
        targets = torch.tensor([sample.target for sample in samples])
        return torch.log_softmax(scores, 1).gather(1, targets[:, None])

    def padded(self, sequences: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, sequences))
        ids = torch.tensor([[self.policy.pad_id] * (width - len(tokens)) + tokens for tokens in sequences])
        mask = torch.tensor([[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in sequences])
        return ids, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", help="a local model's folder; SmolLM2-135M-Instruct if none")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    folder = (arguments.model or fetch_smollm2(cache_dir() / "models")).resolve()
    reference = ModelReference(source="local", id=folder.name, dtype=arguments.dtype)
    policy = load_policy(resolve(reference, models_root=folder.parent), device="cpu")
    policy.model.requires_grad_(False)
    settings = RolloutSettings(max_new_tokens=arguments.new_tokens)
    items, samples = catalogue_of(ITEMS), samples_of(arguments.samples, ITEMS)
    catalogue = embed_items(policy, items)

    finished: list[Rollouts] = []

    def recording(*inputs: Any) -> Rollouts:
        finished.append(roll_out(*inputs))
        return finished[-1]

    with mock.patch.object(scoring, "roll_out", recording), tally(policy) as ours:
        scored = score_samples(policy, catalogue, items, samples, rollouts=settings)
    said = sum(len(tokens) for batch in finished for rollouts in batch.tokens for tokens in rollouts)
    floor = int(scored.prompt_tokens.sum()) + said
    prompts = [user_prompt(policy, items, sample, window=settings.window, room=64) for sample in samples]
    with tally(policy) as theirs:
        theirs.parts = ThreePasses(policy, torch.from_numpy(catalogue), settings).run(prompts, samples)

    count = len(samples)
    print(
        f"{folder.name}, {arguments.dtype}, {arguments.threads} thread(s): {count} samples, G = {settings.group_size}, "
        f"prompt {scored.prompt_tokens.mean():.0f} tokens, rollout {said / count / settings.group_size:.1f}"
    )
    print(f"{'':24}{'tokens/sample':>14}{'of floor':>10}{'s/sample':>10}")
    print(f"{'floor P + G T':24}{floor / count:14.0f}{1:10.2f}")
    print(f"{'one rollout pass':24}{ours.tokens / count:14.0f}{ours.tokens / floor:10.2f}{ours.seconds / count:10.3f}")
    print(
        f"{'three passes':24}{theirs.tokens / count:14.0f}{theirs.tokens / floor:10.2f}{theirs.seconds / count:10.3f}"
    )
    print("   " + ", ".join(f"{name} {seconds / count:.3f}" for name, seconds in theirs.parts.items()))
    print(f"faster: {theirs.seconds / ours.seconds:.1f}x; fewer tokens: {theirs.tokens / ours.tokens:.1f}x")


if __name__ == "__main__":
    main()
