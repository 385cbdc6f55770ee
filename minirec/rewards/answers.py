"""Reading a completion: the part that is its answer, the number or the list that this is.

Texts may be long and made to be slow to read: everything here takes time in proportion to their length.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal, DecimalException
from fractions import Fraction

from minirec.rewards.text import ascii_forms, normalised

_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_CLOSE = re.compile(r"</answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed ?\{")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(rf"[-+]?{_DECIMAL}(?: ?/ ?\d+(?:\.\d+)?)? ?%?")
_AROUND = "$€£¥₹₽₩ \t\r\n"
"""What may stand before a number (currencies), and around it, without being part of it."""
_LONGEST_NUMBER = 100
_LARGEST_EXPONENT = 400
"""Beyond these a text is no number that anybody means, and costs time to compute with."""
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:(?:the|my) )?(?:final )?(?:answer|result)(?: is)?:? ", re.IGNORECASE
)
_BULLET = re.compile(r"[-*•‣◦–]\s+")
_NUMBERED = re.compile(r"\(?(\d{1,4})[.):]\s+")
_PLACE = re.compile(r"(?:^|[,;|])[ \t]*\(?(\d{1,4})[.):][ \t]+")


def marked_answer(completion: str) -> str | None:
    r"""Return what a completion marks as its answer, or None.

    That is the text in its last `<answer>`, else in its last `\boxed{}`, else behind its last `####`.
    """
    if opened := list(_OPEN.finditer(completion)):
        begin = opened[-1].end()
        closed = _CLOSE.search(completion, begin)
        return completion[begin : closed.start() if closed else None].strip()
    if (boxed := _boxed(completion)) is not None:
        return boxed.strip()
    _, mark, rest = completion.rpartition("####")
    lines = rest.strip().splitlines()
    return lines[0].strip() if mark and lines else None


def answer_of(completion: str) -> str:
    """Return what a completion gives as its answer: what it marks as one, else its last line."""
    if (marked := marked_answer(completion)) is not None:
        return marked
    lines = completion.strip().splitlines()
    return lines[-1].strip() if lines else ""


def without_lead(answer: str) -> str:
    """Return an answer without `The answer is` and the like before it, and without Markdown's bold."""
    plain = answer.replace("**", "")
    found = _LEAD.match(plain)
    return plain[found.end() :].strip() if found else plain.strip()


def plain_number(text: str) -> Fraction | None:
    """Return the number that a text is (`1,234.5`, `-3e2`, `3/4`, `50%`, `$18.00.`), or None where it is anything more.

    A currency may stand before it and a full stop behind it; dollar signs may enclose it, as in LaTeX.
    """
    if len(text) > 2 * _LONGEST_NUMBER:
        return None
    plain = ascii_forms(text).replace("\\$", "$").replace("\\%", "%").strip()
    sign = plain[:1] if plain[:1] in ("-", "+") else ""
    plain = sign + plain[len(sign) :].lstrip(_AROUND).rstrip(". \t\r\n$")
    if len(plain) > _LONGEST_NUMBER or not any(char.isdecimal() for char in plain) or not _NUMBER.fullmatch(plain):
        return None
    return _value(plain)


def ranking_of(answer: str, right: Collection[str]) -> list[str]:
    """Return the entries of a list in normal form, best first.

    Args:
        answer: what a completion gives as its answer.
        right: right answers in normal form. One line that is a right answer as a whole is one entry, and so is an
            entry whose own text begins like a place in a list (`1984. A novel`).

    Returns:
        One entry a line; or those lines that have bullets, or numbers that count up from 0 or 1; or the parts of a
        single line, cut at such numbers, else at `;` or `|`, else at commas.
    """
    lines = [line for raw in answer.splitlines() if (line := raw.strip())]
    if len(lines) == 1:
        whole = normalised(lines[0])
        entries = [lines[0]] if whole in right else _parts(lines[0])
    else:
        entries = _marked_lines(lines, right) or lines
    return [entry for text in entries if (entry := normalised(text))]


def _marked_lines(lines: list[str], right: Collection[str]) -> list[str]:
    """Return the lines that are numbered or have bullets, without these marks."""
    numbered = [(line, found) for line in lines if (found := _NUMBERED.match(line))]
    if numbered and _counts_up([int(found[1]) for _, found in numbered]):
        return [line if normalised(line) in right else line[found.end() :] for line, found in numbered]
    return [line[found.end() :] for line in lines if (found := _BULLET.match(line))]


def _parts(line: str) -> list[str]:
    """Return the entries of a list that is one line."""
    places = list(_PLACE.finditer(line))
    if places and places[0].start() == 0 and _counts_up([int(place[1]) for place in places]):
        ends = [*(place.start() for place in places[1:]), len(line)]
        return [line[place.end() : end] for place, end in zip(places, ends, strict=True)]
    if found := _BULLET.match(line):
        return [line[found.end() :]]
    mark = next((mark for mark in ";|" if mark in line), ",")
    return line.replace("|", ";").split(";") if mark != "," else line.split(",")


def _counts_up(numbers: list[int]) -> bool:
    """Tell whether numbers are places: one after the other, from 0 or 1 on."""
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{}`, whose braces may hold others."""
    begin = None
    for found in _BOXED.finditer(text):
        begin = found.end()
    if begin is None:
        return None
    depth = 1
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return text[begin:]


def _value(text: str) -> Fraction | None:
    plain = text.replace(",", "").replace(" ", "")
    over, _, under = plain.removesuffix("%").partition("/")
    try:
        top, bottom = Decimal(over), Decimal(under or 1)
    except DecimalException:
        return None
    if abs(top.adjusted()) > _LARGEST_EXPONENT or not bottom:
        return None
    return Fraction(top) / Fraction(bottom) / (100 if plain.endswith("%") else 1)
