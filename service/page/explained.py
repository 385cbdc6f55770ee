"""A finished selection, explained: in a sentence, in numbers, and as what the charts are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minirec.api_schemas import Selection, SelectionPlots
from minirec.api_schemas.selections import SelectionResult
from minirec.service.plots import plots_of
from minirec.store import Store

VERDICTS = {
    "too_hard": "the model never solved them",
    "too_easy": "the model always solves them",
    "no_spread": "all their rollouts earn the same",
}


@dataclass(frozen=True)
class Explained:
    """What the page and the report show of a selection."""

    selection: Selection
    result: SelectionResult
    plots: SelectionPlots
    sentence: str
    charts: dict[str, Any]
    """What the charts are drawn from, in JSON."""


def explained(store: Store, selection: Selection, *, links: bool = True) -> Explained:
    """Return a finished selection, explained; without `links` the charts lead nowhere. Raises ProblemError."""
    assert selection.result is not None
    plots = plots_of(store, selection.id)
    charts = plots.model_dump(mode="json", exclude={"object"})
    charts["sample_url"] = f"/jobs/{selection.id}/sample?id=" if links else None
    charts["too_easy"] = selection.request.weights.gate.too_easy_reward
    return Explained(selection, selection.result, plots, sentence(selection.result, plots), charts)


def sentence(result: SelectionResult, plots: SelectionPlots) -> str:
    """Return the selection for somebody who has a minute."""
    funnel = plots.funnel
    gated = sum(funnel.gated.values())
    text = f"Of {funnel.pool:,} samples, the {funnel.picked:,} most worth training on were picked"
    if gated:
        most = max(funnel.gated, key=lambda name: funnel.gated[name])
        text += f"; {gated:,} were set aside, mostly because {VERDICTS[most]}"
    text += f". The picks earn {result.selected_reward_mean:.3f} on average, the pool {result.reward_mean:.3f}."
    wasted = funnel.never_solved
    if wasted:
        text += f" {wasted:,} of the picks no rollout solved: they teach little now."
    return text
