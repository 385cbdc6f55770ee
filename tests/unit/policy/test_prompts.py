"""What the model is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from minirec.data.dataset import Sample
from minirec.data.prompts import ANSWER
from minirec.policy.policy import Policy
from minirec.policy.prompts import item_prompt, user_prompt

DAY = 86_400.0
ITEMS = [{"item_id": str(index), "title": f"Title {index}"} for index in range(9)]
SAMPLE = Sample("s", (1, 2, 3), 4, 1000 * DAY, (5.0, None, 3.5), (0.0, 900 * DAY, 999.5 * DAY), None, None)


def said(policy: Policy, sample: Sample, *, window: int = 5, room: int = 32) -> str:
    tokens = user_prompt(policy, ITEMS, sample, window=window, room=room)
    text = policy.tokenizer.decode(tokens)
    assert isinstance(text, str)
    return text


def test_history_is_told_oldest_first_with_age_title_and_rating(policy: Policy) -> None:
    lines = [line for line in said(policy, SAMPLE).splitlines() if line.startswith("- ")]
    assert lines == [
        "- 2 years ago: Title 1 (rated 5)",
        "- 3 months ago: Title 2",
        "- same day: Title 3 (rated 3.5)<|im_end|>",
    ]


def test_without_times_the_place_is_told(policy: Policy) -> None:
    text = said(policy, replace(SAMPLE, history_timestamps=None))
    assert "- 3 choices ago: Title 1" in text
    assert "- 1 choice ago: Title 3" in text


def test_window_keeps_the_most_recent(policy: Policy) -> None:
    text = said(policy, SAMPLE, window=2)
    assert "Title 1" not in text
    assert "Title 2" in text
    assert "Title 3" in text


def test_the_assistants_turn_is_open_and_the_target_unknown(policy: Policy) -> None:
    text = said(policy, SAMPLE)
    assert text.endswith("<|im_start|>assistant\n")
    assert "Title 4" not in text


def test_a_history_too_long_for_the_model_loses_its_oldest_items(policy: Policy) -> None:
    long = replace(SAMPLE, history=tuple([1, 2] * 300), ratings=None, history_timestamps=None)
    tokens = user_prompt(policy, ITEMS, long, window=1000, room=100)
    assert policy.max_positions is not None
    assert len(tokens) + 100 <= policy.max_positions
    assert "- 1 choice ago: Title 2" in policy.tokenizer.decode(tokens)


def test_no_room_at_all_is_an_error_that_names_the_sample(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"sample 's' .* Lower max_new_tokens"):
        said(policy, SAMPLE, room=5000)


def test_item_is_told_with_all_its_fields_and_opened_at_answer(policy: Policy) -> None:
    item = {"item_id": "x", "title": "A  title\nin two lines", "genres": ["jazz", "live"], "year": 1999, "label": None}
    text = policy.tokenizer.decode(item_prompt(policy, item))
    assert "title: A title in two lines\ngenres: jazz, live\nyear: 1999<|im_end|>" in text
    assert text.endswith(f"assistant\n{ANSWER}")
    assert "label" not in text


def test_a_model_without_chat_template_gets_plain_text(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy.tokenizer, "chat_template", None)
    assert said(policy, SAMPLE).endswith("\n\nAnswer:\n")


def test_the_same_day_or_another_gives_the_same_prompt(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chat templates that print today's date would change scores from one day to the next."""
    dated: Any = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%f') %}{% endif %}{{ date_string }}"
    )
    monkeypatch.setattr(policy.tokenizer, "chat_template", dated)
    assert said(policy, SAMPLE) == said(policy, SAMPLE)
