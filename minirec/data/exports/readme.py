"""README.md of an export: how each trainer keeps the order, what its columns are, and what it does without telling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api_schemas.datasets import Kind
from minirec.data.exports import recipes
from minirec.data.exports.encode import json_text
from minirec.data.exports.rows import Row
from minirec.data.exports.writers import SIDE_FILE, Format

CHECKED_WITH: Mapping[Format, str] = {"trl": "trl 1.16", "verl": "verl 0.9.1", "openrlhf": "openrlhf 0.11.2"}
"""The release that an export was loaded with."""

TITLES: Mapping[Format, str] = {
    "trl": "TRL (`GRPOTrainer`)",
    "verl": "verl",
    "openrlhf": "OpenRLHF",
    "jsonl": "any trainer, as JSON Lines",
    "parquet": "any trainer, as Parquet",
    "ids": "any trainer, as sample ids",
}

MANIFEST = """\
- `manifest.json`: where the rows come from (data set, model, settings, seeds), counts, and a SHA-256 per file
"""
SHOWN_SOURCES = 3


def readme(
    format: Format,
    kind: Kind,
    rows: Sequence[Row],
    *,
    selection: Mapping[str, object],
    stages: Sequence[int],
    files: Sequence[str],
    batch_size: int | None,
    warnings: Sequence[str],
) -> str:
    """The text for an export of these rows, whose curriculum stages have so many of them."""
    rewards = _rewards(selection)
    places = {
        "batch": batch_size or "PROMPTS_PER_BATCH",
        "source": _sources(rows),
        "side_file": SIDE_FILE,
        "answer": recipes.ANSWERS[kind][format],
        "more": recipes.MORE[kind][format].format_map(rewards),
        "pass": recipes.PASS[kind],
        "elsewhere": recipes.ELSEWHERE[kind],
        "imports": recipes.TRL_IMPORTS if kind == "prompts" else "",
        "reward": recipes.TRL_REWARD.format_map(rewards) if kind == "prompts" else "",
        "reward_name": "earned" if kind == "prompts" else "YOUR_REWARD",
    }
    recipe = recipes.RECIPES[format].format_map(places)
    if format == "verl" and kind == "prompts":
        recipe += recipes.VERL_REWARD.format_map(rewards)
    parts = [
        f"# {selection['id']} for {TITLES[format]}\n",
        f"{sum(stages)} samples in training order, in {len(stages)} curriculum stages: easy to hard within each.\n",
        *([f"Checked by loading it with the classes of {CHECKED_WITH[format]}.\n"] if format in CHECKED_WITH else []),
        *(["## Warnings\n", *(f"- {warning}\n" for warning in warnings)] if warnings else []),
        "## Keep the order\n",
        recipe,
        *([] if format == "ids" else [recipes.SCORES.format_map(places)]),
        "## Files\n",
        "".join(f"- `{name}`\n" for name in files) + MANIFEST,
    ]
    return "\n".join(parts)


def _sources(rows: Sequence[Row]) -> str:
    """The data sets that the rows come from, in words."""
    sources = list(dict.fromkeys(row.source for row in rows))
    more = f" or one of {len(sources) - SHOWN_SOURCES} more" if len(sources) > SHOWN_SOURCES else ""
    return " or ".join(f"`{source}`" for source in sources[:SHOWN_SOURCES]) + more


def _rewards(selection: Mapping[str, object]) -> dict[str, str]:
    """The selection's rewards as Python and in words; an example for one that was made from uploaded rewards."""
    request = selection.get("request")
    given = request.get("rewards") if isinstance(request, Mapping) else None
    if not given:
        example = 'TextReward(name="exact_answer")'
        return {"rewards": example, "paid": "for exact answers (the selection was made from uploaded rewards)"}
    named = (f"TextReward(name={json_text(reward['name'])}, weight={reward['weight']})" for reward in given)
    return {"rewards": ", ".join(named), "paid": "the rewards of the selection"}
