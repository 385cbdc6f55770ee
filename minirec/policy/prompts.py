"""Prompts of the policy as tokens: a user's history, an item (docs/method.md, section 1), or a chat to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minirec.data.dataset import Prompt, Sample
from minirec.data.prompts import first_shown, item_text, user_text
from minirec.policy.errors import InvalidSampleError
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
            raise InvalidSampleError(
                f"the prompt of sample {sample.id!r} has {len(tokens)} tokens with one history item; with {room} more "
                f"to write it exceeds the model's {policy.max_positions} positions. Lower max_new_tokens."
            )


def item_prompt(policy: Policy, item: Mapping[str, Any]) -> list[int]:
    """Tokens that ask for an item's attributes, the assistant's turn opened at `<answer>`."""
    return _chat_tokens(policy, item_text(item)) + policy.answer_ids


def text_prompt(policy: Policy, prompt: Prompt, *, room: int) -> list[int]:
    """Tokens of a chat, the assistant's turn just opened. Raises ValueError where `room` tokens no longer fit."""
    tokens = _tokens_of(policy, list(prompt.messages))
    if policy.max_positions is not None and len(tokens) + room > policy.max_positions:
        raise InvalidSampleError(
            f"the prompt of sample {prompt.id!r} has {len(tokens)} tokens; with {room} more to write it exceeds the "
            f"model's {policy.max_positions} positions. Shorten it, or lower max_new_tokens."
        )
    return tokens


def plain_text(messages: Sequence[Mapping[str, str]]) -> str:
    """A chat for models without a chat template: what was said, and that an answer is due."""
    return "\n\n".join(message["content"] for message in messages) + "\n\nAnswer:\n"


def _chat_tokens(policy: Policy, text: str) -> list[int]:
    """A user turn with the assistant's opened."""
    return _tokens_of(policy, [{"role": "user", "content": text}])


def _tokens_of(policy: Policy, messages: list[dict[str, str]]) -> list[int]:
    """A chat with the assistant's turn opened; plain text for models without a chat template."""
    tokenizer = policy.tokenizer
    if tokenizer.chat_template is None:
        tokens: list[int] = tokenizer.encode(plain_text(messages))
        return tokens[:-1] if tokens[-1] in policy.end_ids else tokens
    chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, date_string=FIXED_DATE)
    return list(tokenizer.encode(chat, add_special_tokens=False))
