"""The rewards that are always there, each from 0 to 1 (docs/rewards.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import log2
from typing import Any

from minirec.rewards.answers import answer_of, formula, last_number, marked_answer, normalised, ranking_of, whole_number
from minirec.rewards.reward import needs_answer

Answer = str | list[str]


@needs_answer
def exact_title(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """1 if the completion's answer is one of the titles, apart from case, punctuation and white space."""
    return float(normalised(answer_of(completion)) in {normalised(title) for title in _all(answer)})


@needs_answer
def token_f1(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """F1 of the words of the completion's answer with those of the best fitting right answer."""
    given = Counter(normalised(answer_of(completion)).split())
    return max(_f1(given, Counter(normalised(right).split())) for right in _all(answer))


@needs_answer
def ranked_ndcg(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """NDCG of the list in the completion's answer: the right answers are the relevant titles, all equally so."""
    marked = marked_answer(completion)
    listed = ranking_of(completion if marked is None else marked)
    relevant = {normalised(title) for title in _all(answer)}
    gain, left = 0.0, set(relevant)
    for place, entry in enumerate(listed, start=1):
        # A title that is named again is relevant once.
        if (title := normalised(entry)) in left:
            left.remove(title)
            gain += 1 / log2(place + 1)
    return gain / sum(1 / log2(place + 1) for place in range(1, len(relevant) + 1))


@needs_answer
def exact_answer(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """1 if the completion's answer is a right one: the same number where both are numbers, else the same text."""
    given = answer_of(completion)
    return float(any(_same(given, answer_of(right)) for right in _all(answer)))


BUILT_IN: Mapping[str, Callable[[str, Answer, Mapping[str, Any]], float]] = {
    "exact_title": exact_title,
    "token_f1": token_f1,
    "ranked_ndcg": ranked_ndcg,
    "exact_answer": exact_answer,
}


def _all(answer: Answer) -> list[str]:
    return [answer] if isinstance(answer, str) else answer


def _f1(given: Counter[str], right: Counter[str]) -> float:
    common = sum((given & right).values())
    return 2 * common / (given.total() + right.total()) if common else 0.0


def _same(given: str, right: str) -> bool:
    """Whether two answers are the same number, where the right one is a number, else the same text."""
    wanted = whole_number(right)
    return last_number(given) == wanted if wanted is not None else formula(given) == formula(right)
