"""Rows as people have them, turned into the rows that `minirec.api_schemas.rows` describes.

JSONL and Parquet both pass through here, so that the same rows get the same verdict in either format.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from minirec.api_schemas.rows import ItemRow, PromptRow, RewardRow, SampleRow, Split

PARTS: Mapping[str, type[BaseModel]] = {
    "samples": SampleRow,
    "items": ItemRow,
    "prompts": PromptRow,
    "rewards": RewardRow,
}
"""The parts of uploads that consist of rows."""

_INDEX_COLUMN = re.compile(r"__index_level_\d+__")
_IDS = ("id", "item_id", "sample_id", "user_id", "target", "source")
_EXACT = 2**53
"""Up to here every whole number is a float of its own."""
_SPLITS = get_args(Split)
_OTHER_NAMES: Mapping[str, Collection[str]] = {
    "item_id": ("id", "item", "asin", "parent_asin"),
    "title": ("name",),
    "prompt": ("messages", "question", "problem", "query", "input"),
    "target": ("item_id", "target_id"),
    "history": ("items", "sequence"),
    "sample_id": ("id",),
    "reward": ("rewards", "score", "scores"),
}
"""What other tools call our required fields."""

Notes = Counter[str]
"""How often each reading of another layout was made."""


def part_of(model: type[BaseModel]) -> str:
    """Return the name of the part whose rows have this model."""
    return next(part for part, known in PARTS.items() if known is model)


def is_index_column(name: str) -> bool:
    """Tell whether a column holds a data frame's unnamed index, which pandas writes under a name of its own."""
    return name.startswith("__") and _INDEX_COLUMN.fullmatch(name) is not None


def canonical(row: Mapping[str, Any], model: type[BaseModel], notes: Notes) -> dict[str, Any]:
    """Return a row in the layout of its model.

    Nulls and index columns are absent, 5.0 is 5 and an id 5 is the text "5": Parquet knows no absent fields, and data
    frames make floats of integers beside a missing value. Prompts may come as verl and TRL have them; what was read
    from where is counted in `notes`.
    """
    found = {name: value for name, value in row.items() if value is not None and not is_index_column(name)}
    if model.model_config.get("extra") == "allow":
        found = {name: _plain(value) for name, value in found.items()}
    for name in _IDS:
        if name in found and name in model.model_fields:
            found[name] = _id(found[name])
    if model is SampleRow and isinstance(history := found.get("history"), list) and {*map(type, history)} != {str}:
        found["history"] = [_id(item) for item in history]
    return _prompt(found, notes) if model is PromptRow else found


def _plain(value: Any) -> Any:
    """Return a value without fields that are null, at any depth, and with whole numbers as integers."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return int(value) if _is_whole(value) else value


def _id(value: Any) -> Any:
    """Return a whole number as its decimal text, and anything else as it is."""
    return value if type(value) is str else str(int(value)) if type(value) is int or _is_whole(value) else value


def _is_whole(value: object) -> bool:
    return type(value) is float and value.is_integer() and abs(value) <= _EXACT


def missing_fields(names: Collection[str], model: type[BaseModel]) -> list[str]:
    """Return the required fields that a file with columns of these names cannot have."""
    missing = [name for name, field in model.model_fields.items() if field.is_required() and name not in names]
    if model is PromptRow and {"minirec_id", "extra_info"} & set(names):
        missing = [name for name in missing if name != "id"]
    return missing


def misplaced(names: Collection[str], model: type[BaseModel]) -> str | None:
    """Return what to say about rows with these fields if they belong to another part of an upload, else None."""
    if not missing_fields(names, model):
        return None
    for part, other in PARTS.items():
        if other is not model and not missing_fields(names, other):
            fields = ", ".join(name for name, field in other.model_fields.items() if field.is_required())
            return (
                f"the rows have {fields}: this is a file of {part}, sent as {part_of(model)}; "
                "send each file under its own name"
            )
    return None


def similar_name(field: str, names: Collection[str], model: type[BaseModel]) -> str | None:
    """Return the one of a row's names that a missing field probably has, or None."""
    free = [name for name in names if name not in model.model_fields]
    close = get_close_matches(field, free, n=1, cutoff=0.75)
    return close[0] if close else next((name for name in _OTHER_NAMES.get(field, ()) if name in free), None)


def _prompt(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    if isinstance(chat := row.get("prompt"), list):
        row["prompt"] = [_turn(turn) if isinstance(turn, dict) else turn for turn in chat]
    info = row.get("extra_info")
    info = info if isinstance(info, dict) else {}
    places: dict[str, list[tuple[str, Any]]] = {
        "id": [
            ("minirec_id", row.get("minirec_id")),
            ("extra_info.minirec_id", info.get("minirec_id")),
            ("extra_info", _verl_id(info)),
        ],
        "answer": [(place, _answer(value)) for place, value in _answers(row)],
        "source": [("data_source", row.get("data_source"))],
        "split": [("extra_info.split", info.get("split") if info.get("split") in _SPLITS else None)],
    }
    ours = any(value is not None for _, value in places["id"][:2])
    for name, candidates in places.items():
        if name not in row and (found := next(((p, v) for p, v in candidates if v is not None), None)):
            place, value = found
            row[name] = _several(value) if name == "answer" and ours else value
            notes[f"{name} from {place}"] += 1
    if type(row.get("answer")) is int:
        row["answer"] = str(row["answer"])
    return row


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat's turn without an empty list of tool calls, and with its parts of text as one text."""
    found = dict(turn)
    if found.get("tool_calls") == []:
        del found["tool_calls"]
    if isinstance(parts := found.get("content"), list) and parts:
        texts = [_text_part(part) for part in parts]
        if all(text is not None for text in texts):
            found["content"] = "\n".join(text for text in texts if text is not None)
    return found


def _text_part(part: object) -> str | None:
    """Return the text of a part `{"type": "text", "text": ...}`, or None for a part of another kind."""
    if not isinstance(part, dict):
        return None
    text = part.get("text")
    return text if isinstance(text, str) and part == {"type": "text", "text": text} else None


def _answers(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return where verl and TRL keep a right answer, and what is there."""
    rule = row.get("reward_model")
    return [
        ("reward_model.ground_truth", rule.get("ground_truth") if isinstance(rule, dict) else None),
        ("solution", row.get("solution")),
        ("ground_truth", row.get("ground_truth")),
    ]


def _answer(value: Any) -> Any:
    """Return a ground truth as text or texts, or None if it is of another kind."""
    if isinstance(value, dict):  # as Rec-R1 writes it
        value = value.get("target")
    if type(value) is int:
        return str(value)
    if isinstance(value, list):
        return value if value and all(isinstance(text, str) for text in value) else None
    return value if isinstance(value, str) else None


def _several(value: Any) -> Any:
    """Return the answers of one of our own exports, which write several as a JSON list in one text."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        found = _answer(json.loads(value))
    except ValueError:
        return value
    return value if found is None else found


def _verl_id(info: Mapping[str, Any]) -> str | None:
    """Return `split-index`: verl numbers the rows of each split anew."""
    index, split = info.get("index"), info.get("split")
    if type(index) is not int and not isinstance(index, str):
        return None
    return f"{split}-{index}" if isinstance(split, str) and split else str(index)
