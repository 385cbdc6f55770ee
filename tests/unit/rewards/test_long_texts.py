"""No completion takes longer to read than in proportion to its length."""

from __future__ import annotations

import time

import pytest

from minirec.rewards import load_reward

LONG = 100_000
SECONDS = 15.0
"""Of processor time, traced by coverage on a slow machine. What is quadratic takes minutes: 1 s for 8,000 characters is
150 s for these."""
PIECES = [
    ".", " ", "\t.", "1", "1,", ",", "1 ", "1 / ", "-", "e", "1e", "$", "%", "#", "#### ", "####\n",
    "<answer>", "<answer", "</answer>", "\\boxed{", "\\boxed", "{", "}", "&", "&#", "&#9", "&amp;", "&a",
    "1. ", "1.", ", 1. ", ", ", ";", "|", "- ", "-\n", "\n", "(1) ", "a", "the answer is ", "**", "\\", "\\,",
    "0\\,000", "\u200b", "\u00b4", "\ufdfa", "½", "İ", "^", "（", "１", "<", "=", "( ", "\\frac{1}{", "so, ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact_title", "ranked_ndcg", "math_answer"])
def test_long_texts_are_read_in_no_time(name: str) -> None:
    """The other rewards read with the same functions."""
    reward = load_reward(name)
    for head in ("", "<answer>1"):
        for piece in PIECES:
            text = (head + piece * (LONG // len(piece)))[:LONG]
            for completion, answer in ((text, "72"), (text + "a", "a" + text)):
                started = time.process_time()
                reward(completion, answer, {"id": "s"})
                assert time.process_time() - started < SECONDS, (head, piece)


@pytest.mark.parametrize("name", ["exact_title", "token_f1", "ranked_ndcg", "exact_answer"])
def test_a_long_completion_is_read_once_however_many_answers_are_right(name: str) -> None:
    reward, rights = load_reward(name), [f"answer {number}" for number in range(3_000)]
    started = time.process_time()
    assert reward("x" * LONG, rights, {"id": "s"}) == 0
    assert time.process_time() - started < SECONDS
