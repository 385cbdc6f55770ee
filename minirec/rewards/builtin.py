"""The rewards that are always there, each from 0 to 1 (docs/rewards.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import log2
from typing import Any

from minirec.rewards.answers import answer_of, marked_answer, plain_number, ranking_of, without_lead
from minirec.rewards.mathematics import equivalent
from minirec.rewards.reward import needs_answer
from minirec.rewards.text import formula, normalised

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
    relevant = {normalised(title) for title in _all(answer)}
    listed = ranking_of(completion if marked is None else marked, relevant)
    gain, left = 0.0, set(relevant)
    for place, title in enumerate(listed, start=1):
        if title in left:  # A title that is named again is relevant once.
            left.remove(title)
            gain += 1 / log2(place + 1)
    return gain / sum(1 / log2(place + 1) for place in range(1, len(relevant) + 1))


@needs_answer
def exact_answer(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """1 if the completion's answer is a right one: the same plain number, else the same short text."""
    return float(_is_one_of(answer_of(completion), [answer_of(right) for right in _all(answer)]))


@needs_answer
def math_answer(completion: str, answer: Answer, row: Mapping[str, Any]) -> float:
    """1 if the completion's answer is mathematically a right one: LaTeX, fractions, units, sets (by math-verify)."""
    given, marked = answer_of(completion), marked_answer(completion) is not None
    rights = [answer_of(right) for right in _all(answer)]
    return float(_is_one_of(given, rights) or any(equivalent(given, right, marked=marked) for right in rights))


BUILT_IN: Mapping[str, Callable[[str, Answer, Mapping[str, Any]], float]] = {
    "exact_title": exact_title,
    "token_f1": token_f1,
    "ranked_ndcg": ranked_ndcg,
    "exact_answer": exact_answer,
    "math_answer": math_answer,
}


def _all(answer: Answer) -> list[str]:
    return [answer] if isinstance(answer, str) else answer


def _f1(given: Counter[str], right: Counter[str]) -> float:
    common = sum((given & right).values())
    return 2 * common / (given.total() + right.total()) if common else 0.0


def _is_one_of(given: str, rights: list[str]) -> bool:
    """Tell whether an answer is the plain number that a right one is, or the same text where that is no number."""
    # The answer may be as long as a completion, and the right ones thousands: it is read once.
    plain = without_lead(given)
    number, texts, bare = plain_number(plain), (formula(given), formula(plain)), given.strip()
    for right in rights:
        if (wanted := plain_number(right)) is not None:
            same = number == wanted
        else:
            text = formula(right)
            same = text in texts if text else bare == right.strip()
        if same:
            return True
    return False
