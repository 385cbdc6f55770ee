"""What every export says of a selected sample, before any trainer's own names for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from minirec.data.dataset import Dataset
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
    prompt: str
    """The user's turn."""
    answer: str
    """Title of the target, as titles are written in prompts."""
    item_id: str
    """Of the target."""
    source: str | None
    split: str
    index: int
    """Row number in the dataset, unique whatever was selected."""
    position: int
    """0-based place in the training order."""
    pick: Pick

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a chat."""
        return [{"role": "user", "content": self.prompt}]

    @property
    def places(self) -> dict[str, int]:
        return {"position": self.position, "rank": self.pick.rank, "stage": self.pick.stage}

    @property
    def scores(self) -> dict[str, int | float | None]:
        return asdict(self.pick.scores)


def build_rows(dataset: Dataset, picks: Sequence[Pick], *, window: int, source: str | None) -> list[Row]:
    """The rows of `picks`, which are in training order; prompts show the last `window` history items."""
    rows: dict[int, Row] = {}
    # Read in the dataset's order: its row groups are unpacked once each.
    for position, pick in sorted(enumerate(picks), key=lambda place: place[1].row):
        sample = dataset.sample(pick.row)
        target = dataset.items[sample.target]
        rows[position] = Row(
            id=sample.id,
            prompt=title_request(dataset.items, sample, first=first_shown(sample, window)),
            answer=title_text(target),
            item_id=target["item_id"],
            source=source,
            split=sample.split or "train",
            index=pick.row,
            position=position,
            pick=pick,
        )
    return [rows[position] for position in range(len(picks))]
