"""What every export says of a selected sample, before any trainer's own names for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from minirec.data.dataset import Dataset, PromptDataset
from minirec.data.prompts import first_shown, title_request, title_text


@dataclass(frozen=True)
class Scores:
    """What was measured of a sample."""

    pass_rate: float
    reward_mean: float
    reward_std: float
    n_rollouts: int
    learnability: float
    representativeness: float | None
    """None where no vectors were measured."""


@dataclass(frozen=True)
class Pick:
    """A selected sample: its row in the dataset, its places, and what was measured of it."""

    row: int
    rank: int
    """0-based place in the greedy choice."""
    stage: int
    """Curriculum group."""
    scores: Scores


@dataclass(frozen=True)
class Row:
    """A selected sample with the text that a trainer needs."""

    id: str
    messages: Sequence[dict[str, str]]
    """The prompt as a chat."""
    answer: str | list[str] | None
    """Title of the target, as titles are written in prompts; of a prompt's row its answer."""
    item_id: str | None
    """Of the target; None for a prompt."""
    source: str | None
    split: str
    index: int
    """Row number in the dataset, unique whatever was selected."""
    position: int
    """0-based place in the training order."""
    pick: Pick
    ability: str
    uploaded: dict[str, Any] = field(default_factory=dict)
    """The row of a prompt as it was uploaded."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Its fields beyond those that we know."""

    @property
    def places(self) -> dict[str, int]:
        return {"position": self.position, "rank": self.pick.rank, "stage": self.pick.stage}

    @property
    def scores(self) -> dict[str, int | float | None]:
        return asdict(self.pick.scores)


def build_rows(
    dataset: Dataset | PromptDataset, picks: Sequence[Pick], *, window: int, source: str | None
) -> list[Row]:
    """Return the rows of `picks`, which are in training order.

    Prompts of interactions show the last `window` history items; others are as they were uploaded. `source` is that of
    rows that name none of their own.
    """
    rows: dict[int, Row] = {}
    # Read in the dataset's order: its row groups are unpacked once each.
    for position, pick in sorted(enumerate(picks), key=lambda place: place[1].row):
        if isinstance(dataset, PromptDataset):
            rows[position] = _prompt_row(dataset, pick, position, source)
        else:
            rows[position] = _sample_row(dataset, pick, position, source, window)
    return [rows[position] for position in range(len(picks))]


def _sample_row(dataset: Dataset, pick: Pick, position: int, source: str | None, window: int) -> Row:
    sample = dataset.sample(pick.row)
    target = dataset.items[sample.target]
    request = title_request(dataset.items, sample, first=first_shown(sample, window))
    return Row(
        id=sample.id,
        messages=[{"role": "user", "content": request}],
        answer=title_text(target),
        item_id=target["item_id"],
        source=source,
        split=sample.split or "train",
        index=pick.row,
        position=position,
        pick=pick,
        ability="recommendation",
    )


def _prompt_row(dataset: PromptDataset, pick: Pick, position: int, source: str | None) -> Row:
    prompt = dataset.prompt(pick.row)
    ability = prompt.extra.get("ability")
    return Row(
        id=prompt.id,
        messages=list(prompt.messages),
        answer=prompt.answer,
        item_id=None,
        source=prompt.source or source,
        split=prompt.split or "train",
        index=pick.row,
        position=position,
        pick=pick,
        ability=ability if isinstance(ability, str) else "general",
        uploaded=prompt.row,
        extra=prompt.extra,
    )
