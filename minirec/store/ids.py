"""Ids that say what they name and sort by when they were made."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(kind: str) -> str:
    """`ds_`, `sel_`, ... and 20 characters: 9 of time (milliseconds), 11 of chance."""
    number = (time.time_ns() // 1_000_000) << 55 | secrets.randbits(55)
    digits = []
    for _ in range(20):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{kind}_{''.join(reversed(digits))}"
