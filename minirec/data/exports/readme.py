"""README.md of an export: how its trainer keeps the order, what its columns are, and what it does silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minirec.api_schemas.datasets import Kind
from minirec.data.exports.rows import Row
from minirec.data.exports.target import Batches, Context, Target

SCORES = """\
## Scores

`pass_rate`: share of the rollouts that {passed}. `reward_mean`, `reward_std`: over the `n_rollouts` rollouts.
`learnability` and `representativeness`: why it was chosen. They were measured with the rewards of the
selection{elsewhere}: see `selection` in `manifest.json`.
"""
PASSED: Mapping[Kind, str] = {"interactions": "hit the target", "prompts": "earned something"}
ELSEWHERE: Mapping[Kind, str] = {"interactions": ", which are not those of another trainer", "prompts": ""}
MANIFEST = """\
- `manifest.json`: where the rows come from (data set, model, settings, seeds), counts, and a SHA-256 per file
"""


def readme(
    target: Target,
    kind: Kind,
    rows: Sequence[Row],
    *,
    selection: Mapping[str, object],
    batches: Batches,
    files: Sequence[str],
    warnings: Sequence[str],
) -> str:
    """Return the text for an export.

    Args:
        target: Whose files they are.
        kind: Of the dataset.
        rows: The samples in training order.
        selection: What is known of the selection, with at least its `id`.
        batches: The rows per curriculum stage, and the trainer's batch size.
        files: Names of the data files.
        warnings: What the trainer would do without saying so.
    """
    stages = batches.stages
    checked = f"Checked by loading it with the classes of {target.checked_with}.\n"
    scores = SCORES.format(passed=PASSED[kind], elsewhere=ELSEWHERE[kind])
    parts = [
        f"# {selection['id']} for {target.title}\n",
        f"{batches.rows} samples in training order, in {len(stages)} curriculum stages: easy to hard within each.\n",
        *([checked] if target.checked_with else []),
        *(["## Warnings\n", *(f"- {warning}\n" for warning in warnings)] if warnings else []),
        "## Keep the order\n",
        target.recipe(Context(kind, rows, batches.size, _rewards(selection))),
        *([scores] if target.has_scores else []),
        "## Files\n",
        "".join(f"- `{name}`\n" for name in files) + MANIFEST,
    ]
    return "\n".join(parts)


def _rewards(selection: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """Return the rewards of the selection's request; nothing for one that was made from uploaded rewards."""
    request = selection.get("request")
    rewards = request.get("rewards") if isinstance(request, Mapping) else None
    return rewards or []
