"""Texts without what does not tell them apart: how titles, words and short answers are compared."""

from __future__ import annotations

import html
import re
import string
import unicodedata

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""Bounded, so that no text makes a number of thousands of digits."""
_OPERATOR = re.compile(r" ?([-+*/=^<>(){}\[\],]) ?")
_SPACE_CATEGORIES = ("Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm")
"""All punctuation, and the kinds of symbols that ASCII has: currencies, modifiers, mathematics."""
_SPACES = "´ʹʻʼʽˈ™®©℠"
"""Marks of other categories that are written like punctuation, or left out."""
_ABSENT = "\u034f\ufe0e\ufe0f"
"""Joiners and variation selectors: they choose a glyph, no text."""
_ASCII = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣"), "-")
"""Full-width forms, and all that is written for a minus. Not all of NFKC: that makes 52 of 5²."""


class _Marks(dict[int, str]):
    """What becomes of each character, for `str.translate`; looked up once per character."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Cf" or char in _ABSENT:
            self[code] = ""
        elif category in _SPACE_CATEGORIES or char in string.punctuation or char in _SPACES:
            self[code] = " "
        else:
            self[code] = char
        return self[code]


_MARKS = _Marks()
_OUR_MARKS = str.maketrans(dict.fromkeys(_SPACES, " "))


def unescaped(text: str) -> str:
    """Return a text with HTML entities (`&amp;`, `&#39;`) as the characters that they stand for."""
    return _ENTITY.sub(lambda found: html.unescape(found.group()), text) if "&" in text else text


def normalised(text: str) -> str:
    """Return a text's normal form: what differs only in case, punctuation, encoding or white space is the same in it.

    Of a text that is nothing but punctuation, that stays.
    """
    plain = unescaped(text)
    folded = unicodedata.normalize("NFKC", plain.translate(_OUR_MARKS)).casefold().replace("&", " and ")
    marked = unicodedata.normalize("NFKC", folded).translate(_MARKS)
    return " ".join(marked.split()) or " ".join(unicodedata.normalize("NFKC", plain).casefold().split())


def ascii_forms(text: str) -> str:
    """Return a text with full-width characters and every kind of dash in ASCII."""
    return text.translate(_ASCII)


def formula(text: str) -> str:
    """Return a text without case, white space around operators, and a full stop at its end."""
    folded = unicodedata.normalize("NFC", ascii_forms(unescaped(text))).casefold()
    return _OPERATOR.sub(r"\1", " ".join(folded.split()).rstrip(".")).strip()
