"""Prompts of the policy as tokens: a user's history, an item (docs/method.md, section 1), or a chat to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minirec.data.dataset import Prompt, Sample
from minirec.data.prompts import first_shown, item_text, user_text
from minirec.policy.chat import FIXED_DATE, Chat, plain_text
from minirec.policy.errors import TooLongError
from minirec.policy.policy import Policy

__all__ = ["FIXED_DATE", "item_prompt", "item_prompts", "plain_text", "text_prompt", "user_prompt", "user_prompts"]

Reader = Policy | Chat
"""What prompts are made for: a loaded model, or its tokenizer and template alone."""


def user_prompt(
    policy: Reader, items: Sequence[Mapping[str, Any]], sample: Sample, *, window: int, room: int
) -> list[int]:
    """Return tokens that ask for reasoning about a history and then an item, the assistant's turn just opened.

    Args:
        policy: The policy, or its chat format.
        items: The catalogue.
        sample: Whose history to show.
        window: Items of the history to show, the last ones. The oldest of them are dropped as long as fewer than
            `room` positions would be left.
        room: Tokens that the model may write.

    Raises:
        TooLongError: The prompt does not fit with one history item either.
        InvalidSampleError: The template refuses it.
    """
    chat = _chat(policy)
    first = first_shown(sample, window)
    while True:
        tokens = chat.encode(_turn(user_text(items, sample, first=first)), sample_id=sample.id)
        if chat.max_positions is None or len(tokens) + room <= chat.max_positions:
            return tokens
        first += 1
        if first >= len(sample.history):
            raise TooLongError(
                f"the prompt of sample {sample.id!r} has {len(tokens)} tokens with one history item; with {room} more "
                f"to write it exceeds the model's {chat.max_positions} positions. Lower max_new_tokens.",
                [sample.id],
            )


def user_prompts(
    policy: Reader, items: Sequence[Mapping[str, Any]], samples: Sequence[Sample], *, window: int, room: int
) -> list[list[int]]:
    """Return what `user_prompt` does for each sample, sooner. Raises as it does.

    Args:
        policy: The policy, or its chat format.
        items: The catalogue.
        samples: Whose histories to show.
        window: Items of a history to show at most.
        room: Tokens that the model may write.
    """
    if not samples:
        return []
    chat = _chat(policy)
    turns = [_turn(user_text(items, sample, first=first_shown(sample, window))) for sample in samples]
    prompts = chat.encode_all(turns, sample_ids=[sample.id for sample in samples])
    most = chat.max_positions
    return [
        tokens
        if most is None or len(tokens) + room <= most
        else user_prompt(policy, items, sample, window=window, room=room)
        for tokens, sample in zip(prompts, samples, strict=True)
    ]


def item_prompt(policy: Reader, item: Mapping[str, Any]) -> list[int]:
    """Return tokens that ask for an item's attributes, the assistant's turn opened at `<answer>`."""
    chat = _chat(policy)
    return chat.encode(_turn(item_text(item))) + chat.answer_ids


def item_prompts(policy: Reader, items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return what `item_prompt` does for each item, sooner."""
    chat = _chat(policy)
    if not items:
        return []
    turns = [_turn(item_text(item)) for item in items]
    return [ids + chat.answer_ids for ids in chat.encode_all(turns, sample_ids=[None] * len(turns))]


def text_prompt(policy: Reader, prompt: Prompt, *, room: int) -> list[int]:
    """Return tokens of a chat, the assistant's turn just opened.

    Raises `TooLongError` where `room` tokens no longer fit, `InvalidSampleError` where the template refuses the chat.
    """
    chat = _chat(policy)
    tokens = chat.encode(prompt.messages, sample_id=prompt.id)
    if chat.max_positions is not None and len(tokens) + room > chat.max_positions:
        raise TooLongError(
            f"the prompt of sample {prompt.id!r} has {len(tokens)} tokens; with {room} more to write it exceeds the "
            f"model's {chat.max_positions} positions. Shorten it, or lower max_new_tokens.",
            [prompt.id],
        )
    return tokens


def _chat(policy: Reader) -> Chat:
    return policy if isinstance(policy, Chat) else policy.chat


def _turn(text: str) -> list[dict[str, str]]:
    """A user turn."""
    return [{"role": "user", "content": text}]
