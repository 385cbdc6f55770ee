"""The two prompts of the policy as tokens: one shows a user's history, one an item (docs/method.md, section 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minirec.data.dataset import Sample
from minirec.data.prompts import first_shown, item_text, user_text
from minirec.policy.policy import Policy

# Some chat templates print today's date, and would score the same sample differently tomorrow.
FIXED_DATE = "01 Jan 2026"


def user_prompt(
    policy: Policy, items: Sequence[Mapping[str, Any]], sample: Sample, *, window: int, room: int
) -> list[int]:
    """Tokens that ask for reasoning about a history and then an item, the assistant's turn just opened.

    Shows the last `window` items; the oldest are dropped as long as fewer than `room` positions would be left for
    what the model writes.
    """
    first = first_shown(sample, window)
    while True:
        tokens = _chat_tokens(policy, user_text(items, sample, first=first))
        if policy.max_positions is None or len(tokens) + room <= policy.max_positions:
            return tokens
        first += 1
        if first >= len(sample.history):
            raise ValueError(
                f"the prompt of sample {sample.id!r} has {len(tokens)} tokens with one history item; with {room} more "
                f"to write it exceeds the model's {policy.max_positions} positions. Lower max_new_tokens."
            )


def item_prompt(policy: Policy, item: Mapping[str, Any]) -> list[int]:
    """Tokens that ask for an item's attributes, the assistant's turn opened at `<answer>`."""
    return _chat_tokens(policy, item_text(item)) + policy.answer_ids


def _chat_tokens(policy: Policy, text: str) -> list[int]:
    """A user turn with the assistant's opened; plain text for models without a chat template."""
    tokenizer = policy.tokenizer
    if tokenizer.chat_template is None:
        tokens: list[int] = tokenizer.encode(f"{text}\n\nAnswer:\n")
        return tokens[:-1] if tokens[-1] in policy.end_ids else tokens
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, date_string=FIXED_DATE
    )
    return list(tokenizer.encode(chat, add_special_tokens=False))
