"""What an export target is: a trainer, or a plain file format, described in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from minirec.api_schemas.datasets import Kind
from minirec.api_schemas.exports import ExportFormat
from minirec.data.exports.encode import json_text
from minirec.data.exports.rows import Row

TITLE = "the title of the item that the user chose"
ANSWERS = 'the answer; several answers are a JSON list in one text, `["Alien", "Brazil"]`'
SHOWN_SOURCES = 3


class SourceMissingError(ValueError):
    """A row does not say which data set it is from, and the trainer must know."""


class AnswerMissingError(ValueError):
    """No row has an answer, and the trainer learns from nothing else."""


@dataclass(frozen=True)
class DataFile:
    """A file of an export, written as its content is consumed."""

    name: str
    rows: int | None
    """None for a file that has none."""
    content: Iterator[bytes]


@dataclass(frozen=True)
class Batches:
    """How the rows of an export are cut: into curriculum stages, and into batches by the trainer."""

    stages: Sequence[int]
    """Rows per curriculum stage."""
    size: int | None
    """Prompts in one batch of the trainer, where it is known."""

    @property
    def rows(self) -> int:
        return sum(self.stages)


@dataclass(frozen=True)
class Context:
    """What the text of a README.md depends on, beside the target."""

    kind: Kind
    rows: Sequence[Row]
    batch_size: int | None
    rewards: Sequence[Mapping[str, object]]
    """The selection's rewards, `name` and `weight` each; empty where it has none."""

    @property
    def batch(self) -> int | str:
        """Prompts per batch, or the word that stands for the number."""
        return self.batch_size or "PROMPTS_PER_BATCH"

    @property
    def sources(self) -> str:
        """The data sets that the rows come from, in words."""
        sources = list(dict.fromkeys(row.source for row in self.rows))
        more = f" or one of {len(sources) - SHOWN_SOURCES} more" if len(sources) > SHOWN_SOURCES else ""
        return " or ".join(f"`{source}`" for source in sources[:SHOWN_SOURCES]) + more

    @property
    def answer(self) -> str:
        """Words for the content of a column with one text per answer."""
        return TITLE if self.kind == "interactions" else f"{ANSWERS}, and without an answer it is null"

    @property
    def answer_or_empty(self) -> str:
        """The same, of a column that cannot be null."""
        return TITLE if self.kind == "interactions" else f"{ANSWERS}, and without an answer it is empty"

    def with_reward(self, recipe: str, reward: str) -> str:
        """Return a recipe, for prompts with `reward` behind it: how to write a function that pays the rewards."""
        if self.kind == "interactions":
            return recipe
        return recipe + reward.format(paid=self.rewards_in_words, rewards=self.rewards_as_python)

    @property
    def rewards_as_python(self) -> str:
        """The selection's rewards as Python; an example where it has none."""
        if not self.rewards:
            return 'TextReward(name="exact_answer")'
        return ", ".join(
            f"TextReward(name={json_text(reward['name'])}, weight={reward['weight']})" for reward in self.rewards
        )

    @property
    def rewards_in_words(self) -> str:
        """Words for what a reward function made from `rewards_as_python` pays."""
        if not self.rewards:
            return "for exact answers (the selection was made from uploaded rewards)"
        return "the rewards of the selection"


def no_warnings(rows: Sequence[Row], batches: Batches) -> list[str]:
    """Return no warnings, whatever the rows."""
    return []


def accept(rows: Sequence[Row]) -> None:
    """Refuse no rows."""


@dataclass(frozen=True)
class Target:
    """A trainer, or a file format, that a selection can be exported to."""

    format: ExportFormat
    """Its name in requests."""
    title: str
    """Who reads the files, for the headline of README.md."""
    files: Callable[[Kind, Sequence[Row]], Iterator[DataFile]]
    """Yield the data files for rows of a dataset of this kind."""
    recipe: Callable[[Context], str]
    """Return the Markdown of README.md that says how to keep the order, and what the columns are."""
    checked_with: str | None = None
    """The release whose own classes loaded an export; None for formats without a trainer."""
    warnings: Callable[[Sequence[Row], Batches], list[str]] = no_warnings
    """Return what the trainer would do to these rows without saying so."""
    check: Callable[[Sequence[Row]], None] = accept
    """Raise SourceMissingError for rows that the trainer cannot use."""
    has_scores: bool = True
    """Whether the files say what was measured of the samples."""


def partial_batch(batches: Batches, what_happens: str) -> list[str]:
    """Return a warning where the last batch is not full; `what_happens` says what becomes of its rows."""
    if batches.size is None or batches.rows % batches.size == 0:
        return []
    rows, size = batches.rows, batches.size
    lost = rows % size
    which = "all of them" if lost == rows else f"the last {lost}"
    whole = rows - lost
    sizes = f"{whole} or {whole + size}" if whole else str(size)
    return [
        f"{rows} rows are no multiple of a batch of {size}: {what_happens}, here {which}. "
        f"Use a batch size that divides {rows}, or select {sizes} samples."
    ]
