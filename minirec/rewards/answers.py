"""Reading a completion: the part that is the answer, its normal form, its numbers, its list."""

from __future__ import annotations

import re
import string
import unicodedata
from decimal import Decimal, InvalidOperation

_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKED = re.compile(r"####\s*(.+)")
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?\s*%?")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,4}[.):])\s+")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def answer_of(completion: str) -> str:
    """What a completion gives as its answer.

    The text in its last `<answer>`, else in its last `\\boxed{}`, else behind its last `####`, else its last line.
    """
    if tagged := _TAGGED.findall(completion):
        return str(tagged[-1]).strip()
    if (boxed := _boxed(completion)) is not None:
        return boxed.strip()
    if marked := _MARKED.findall(completion):
        return str(marked[-1]).strip()
    lines = [line.strip() for line in completion.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def normalised(text: str) -> str:
    """A text without what does not tell titles apart: case, accents' encoding, punctuation, white space."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("&", " and ")
    return " ".join(folded.translate(_PUNCTUATION).split())


def number_of(text: str) -> Decimal | None:
    """The last number in a text (`1,234.5`, `-3e2`, `3/4`, `50%`), or None."""
    found = _NUMBER.findall(text)
    return _decimal(found[-1]) if found else None


def ranking_of(answer: str) -> list[str]:
    """The entries of a list, best first: one a line, numbered or with bullets; or one line, cut at its commas."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
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


def _decimal(text: str) -> Decimal | None:
    plain = text.replace(",", "").replace(" ", "")
    percent = plain.endswith("%")
    over, _, under = plain.removesuffix("%").partition("/")
    try:
        value = Decimal(over) / Decimal(under or 1)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return value / 100 if percent else value
