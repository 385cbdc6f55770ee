"""The pass with gradients agrees with the model's own, whatever kind of model it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Qwen2Config

from minirec.api_schemas.training import GrpoSettings
from minirec.policy.policy import Policy
from minirec.policy.rollouts import Sampling
from minirec.training.forward import plan_trees, run_trees
from minirec.training.lora import with_lora
from minirec.training.packing import Branch

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
SOFT_CAP = Gemma2Config(**SHAPE, head_dim=8, sliding_window=64, final_logit_softcapping=2.0)
SHORT_WINDOW = Gemma2Config(**SHAPE, head_dim=8, sliding_window=6)
PROMPTS = [[11, 12, 13, 14, 15], [21, 22, 23]]
BRANCHES = [
    Branch(0, [31, 32, 33, 34], [31, 32], 1.0, True),
    Branch(0, [41, 42], [41, 42], -1.0, False),
    Branch(1, [51, 52, 53], [51, 52, 53], 1.0, True),
]


@pytest.mark.parametrize(
    ("config", "attention", "trees"),
    [(Qwen2Config(**SHAPE), "sdpa", 2), (SOFT_CAP, "eager", 2), (SHORT_WINDOW, "eager", 3)],
    ids=["qwen2", "soft-capped logits, eager attention", "a window shorter than the sequences"],
)
def test_every_branch_reads_as_if_it_were_alone(config: Any, attention: str, trees: int, policy: Policy) -> None:
    config.vocab_size = len(policy.tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    sampling = Sampling(1.5, 50, 1.0)
    with with_lora(Policy(model, policy.tokenizer), GrpoSettings()) as adapted, torch.no_grad():
        planned = plan_trees(adapted, PROMPTS, BRANCHES, 1000)
        log_probs, z = run_trees(adapted, planned, sampling)
        assert len(planned) == trees
        expected = []
        for number, branch in enumerate(BRANCHES):
            prompt = PROMPTS[branch.sample]
            output = model(torch.tensor([[*prompt, *branch.tokens]]), output_hidden_states=True)
            torch.testing.assert_close(z[number], output.hidden_states[-1][0, -1], rtol=1e-4, atol=1e-4)
            for step, token in enumerate(branch.drawn):
                scaled = output.logits[0, len(prompt) - 1 + step] / 1.5
                expected.append(scaled[token] - scaled.topk(50).values.logsumexp(0))
    torch.testing.assert_close(log_probs, torch.stack(expected), rtol=1e-4, atol=1e-4)
