"""The two prompts of the policy: one shows a user's history, one an item (docs/method.md, section 1).

Constant text comes first in both, so that a batch's prompts share a long opening which is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minirec.data.dataset import Sample
from minirec.policy.policy import ANSWER, Policy

PROMPT_VERSION = "1"
"""Raised with any change of wording or layout: results under different prompts must not be mixed."""

USER_INSTRUCTION = (
    f"Below is what a user chose so far, oldest first. Think about what the user likes and what the choices have in "
    f"common. Then recommend the next item, written between {ANSWER} and </answer>.\n"
)
ITEM_INSTRUCTION = (
    f"Sum up what this item is and who likes it. Write its key attributes between {ANSWER} and </answer>.\n"
)
MAX_FIELD_CHARACTERS = 300
"""Longer titles and attributes are cut, so that one item cannot fill the prompt."""
DAY = 86_400.0
# Some chat templates print today's date, and would score the same sample differently tomorrow.
FIXED_DATE = "01 Jan 2026"


def user_prompt(
    policy: Policy, items: Sequence[Mapping[str, Any]], sample: Sample, *, window: int, room: int
) -> list[int]:
    """Tokens that ask for reasoning about a history and then an item, the assistant's turn just opened.

    Shows the last `window` items; the oldest are dropped as long as fewer than `room` positions would be left for
    what the model writes.
    """
    first = max(0, len(sample.history) - window)
    while True:
        lines = [_history_line(items, sample, index) for index in range(first, len(sample.history))]
        tokens = _chat_tokens(policy, USER_INSTRUCTION + "\n".join(lines))
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
    fields = {name: value for name, value in item.items() if name not in ("item_id", "title") and value is not None}
    lines = [f"title: {_plain(item['title'])}", *(f"{name}: {_plain(value)}" for name, value in sorted(fields.items()))]
    return _chat_tokens(policy, ITEM_INSTRUCTION + "\n".join(lines)) + policy.answer_ids


def _history_line(items: Sequence[Mapping[str, Any]], sample: Sample, index: int) -> str:
    title = _plain(items[sample.history[index]]["title"])
    rating = sample.ratings[index] if sample.ratings is not None else None
    rated = "" if rating is None else f" (rated {rating:g})"
    return f"- {_how_long_ago(sample, index)}: {title}{rated}"


def _how_long_ago(sample: Sample, index: int) -> str:
    """Time between a history item and the target; its place counted from the end where times are missing."""
    then = sample.history_timestamps[index] if sample.history_timestamps is not None else None
    if then is None or sample.timestamp is None:
        return _count(len(sample.history) - index, "choice")
    days = int(max(0.0, sample.timestamp - then) // DAY)
    if days == 0:
        return "same day"
    if days < 60:
        return _count(days, "day")
    return _count(days // 30, "month") if days < 730 else _count(days // 365, "year")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'} ago"


def _plain(value: object) -> str:
    """One line of text, cut to a bounded length."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.split())[:MAX_FIELD_CHARACTERS]


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
