"""Reading a completion: the part that is the answer, its normal form, its number, its list."""

from __future__ import annotations

import re
import string
import unicodedata
from decimal import Decimal, DecimalException
from fractions import Fraction

_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKED = re.compile(r"####\s*(.+)")
_DECIMAL = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(rf"(?:(?<![\w.)\]])[-+])?{_DECIMAL}(?:\s*/\s*\d+(?:\.\d+)?)?\s*%?")
_AROUND = re.compile(r"^[\s$€£¥]+|[\s.]+$")
"""What may stand around a number without being part of it."""
_LONGEST_NUMBER = 100
_LARGEST_EXPONENT = 400
"""Beyond these a text is no number that anybody means, and costs time to compute with."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,4}[.):])\s+")
_NUMBERED = re.compile(r"(?:^|[,;|])\s*\(?\d{1,4}[.):]\s+")
_OPERATOR = re.compile(r"\s*([-+*/=^<>(){}\[\],])\s*")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def marked_answer(completion: str) -> str | None:
    """What a completion marks as its answer, or None.

    The text in its last `<answer>`, else in its last `\\boxed{}`, else behind its last `####`.
    """
    if tagged := _TAGGED.findall(completion):
        return str(tagged[-1]).strip()
    if (boxed := _boxed(completion)) is not None:
        return boxed.strip()
    marked = _MARKED.findall(completion)
    return str(marked[-1]).strip() if marked else None


def answer_of(completion: str) -> str:
    """What a completion gives as its answer: what it marks as one, else its last line."""
    if (marked := marked_answer(completion)) is not None:
        return marked
    lines = [line.strip() for line in completion.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def normalised(text: str) -> str:
    """A text without what does not tell titles apart: case, accents' encoding, punctuation, white space.

    Of a text that is nothing but punctuation, that stays.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("&", " and ")
    return " ".join(folded.translate(_PUNCTUATION).split()) or " ".join(text.casefold().split())


def formula(text: str) -> str:
    """A text without case, white space around operators, and a full stop at its end."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".")
    return _OPERATOR.sub(r"\1", folded)


def whole_number(text: str) -> Fraction | None:
    """The number that a text is, apart from a currency before and a full stop behind it, or None."""
    bare = _AROUND.sub("", text)
    return _value(bare) if _NUMBER.fullmatch(bare) else None


def last_number(text: str) -> Fraction | None:
    """The last number in a text (`1,234.5`, `-3e2`, `3/4`, `50%`), or None."""
    found = _NUMBER.findall(text)
    return _value(found[-1]) if found else None


def ranking_of(answer: str) -> list[str]:
    """The entries of a list, best first: one a line, numbered or with bullets; or one line, cut where it has marks."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if len(lines) == 1 and len(_NUMBERED.findall(lines[0])) > 1:
        return [entry.strip() for entry in _NUMBERED.split(lines[0]) if entry.strip()]
    marked = [line for line in lines if _BULLET.match(line)]
    if marked:
        return [_BULLET.sub("", line).strip() for line in marked]
    if len(lines) == 1:
        parts = re.split(r"[;|]", lines[0]) if re.search(r"[;|]", lines[0]) else lines[0].split(",")
        return [part.strip() for part in parts if part.strip()]
    return lines


def _boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{}`, whose braces may hold others."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return text[begin:]


def _value(text: str) -> Fraction | None:
    plain = text.replace(",", "").replace(" ", "")
    if len(plain) > _LONGEST_NUMBER:
        return None
    over, _, under = plain.removesuffix("%").partition("/")
    try:
        top, bottom = Decimal(over), Decimal(under or 1)
    except DecimalException:
        return None
    if abs(top.adjusted()) > _LARGEST_EXPONENT or not bottom:
        return None
    return Fraction(top) / Fraction(bottom) / (100 if plain.endswith("%") else 1)
