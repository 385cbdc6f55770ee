"""Validation errors in plain words, for messages to people: nothing of pydantic's own wording, no pattern texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from minirec.api_schemas.models import MODEL_ID, REVISION
from minirec.api_schemas.rewards import REWARD_NAME

WORDS = {
    MODEL_ID: "should be a hub id such as org/name, or a path below the models folder: parts of ASCII letters, digits, "
    "'.', '_' and '-' that begin with a letter or a digit, joined by '/'",
    REVISION: "should be a branch, a tag or a commit: ASCII letters, digits, '.', '_', '-' and '/'",
    REWARD_NAME: "should be the name of a reward: up to 100 ASCII letters, digits, '.', '_' and '-'",
}
"""What a text should be, by the pattern that it did not match."""
ID = re.compile(r"\^([a-z]+)_")
"""Patterns of ids: a prefix per kind of resource."""
OPENINGS = re.compile(
    r"^(?:Input|String|List|Tuple|Set|Dictionary|Data|Bytes|Value|Datetime|Decimal input) (should|must)\b"
)

PREFIX = re.compile("^(?:Value error|Assertion failed), ")
PARSING = re.compile(r", (?:unable to (?:parse|interpret)|got a number with a fractional part).*$")
MISSING = object()


def explained(error: Mapping[str, Any]) -> str:
    """Return one of pydantic's `errors()` in words that continue the name of the field: "should be ...", "is ..."."""
    kind, text, context = error["type"], str(error["msg"]), error.get("ctx") or {}
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a known field"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or plain(text))
    if kind == "string_pattern_mismatch":
        return of_pattern(str(context.get("pattern", "")))
    if kind == "json_invalid":
        return f"is not valid JSON: {context.get('error', text)}"
    if kind in ("model_type", "model_attributes_type", "dict_type", "dataclass_type", "mapping_type"):
        return "should be an object with fields"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"should have one of {context.get('expected_tags', 'the known kinds')} as {context.get('discriminator')}"
    return plain(text)


def plain(text: str) -> str:
    """Return one of pydantic's messages without its opening and without how the value was parsed."""
    return PARSING.sub("", OPENINGS.sub(r"\1", PREFIX.sub("", text)))


def of_pattern(pattern: str) -> str:
    """Return what a text should be that did not match a pattern."""
    if pattern in WORDS:
        return WORDS[pattern]
    prefix = ID.match(pattern)
    if prefix:
        return f"should be an id as the service returned it, {prefix[1]}_... with lower-case letters and digits"
    return "has characters that it may not have"


def located(errors: Sequence[Mapping[str, Any]], body: object) -> list[tuple[tuple[str | int, ...], str, str]]:
    """Return place, words and type of each fault. Faults of one value, checked as several kinds, become one."""
    found: dict[tuple[str | int, ...], tuple[list[str], str]] = {}
    for error in errors:
        loc = tuple(error["loc"])
        place = (loc[0], *in_body(loc[1:], body, error["type"])) if loc[:1] == ("body",) else loc
        words, _ = found.setdefault(place, ([], error["type"]))
        if explained(error) not in words:
            words.append(explained(error))
    return [(place, ", or ".join(words), kind) for place, (words, kind) in found.items()]


def in_body(loc: tuple[str | int, ...], body: object, kind: str) -> list[str | int]:
    """Return a place without the names of the types that pydantic tried for a value."""
    place: list[str | int] = []
    for index, part in enumerate(loc):
        inner = element(body, part)
        if inner is not MISSING:
            body = inner
        elif isinstance(part, str) and not (kind == "missing" and index == len(loc) - 1):
            continue
        place.append(part)
    return place


def element(body: object, part: str | int) -> object:
    """Return what a body holds under a key or at an index, `MISSING` where there is nothing."""
    if isinstance(body, Mapping):
        return body.get(part, MISSING)
    if isinstance(body, list) and isinstance(part, int) and part < len(body):
        return body[part]
    return MISSING
