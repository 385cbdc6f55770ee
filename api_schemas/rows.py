"""Rows of the files that clients upload: samples and catalogue items."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from minirec.api_schemas.common import AnyNumber
from minirec.api_schemas.documented import described


@cache
def _unseen() -> str:
    """Return every character that shows nothing: white space, controls, and format characters such as zero width."""
    fillers = "\u115f\u1160\u2800\u3164\uffa0"
    return fillers + "".join(
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if char.isspace() or unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Zs")
    )


def not_blank(text: str) -> str:
    """Return a text that shows something. Raises ValueError."""
    if not text[:1].isalnum() and not text.strip(_unseen()):
        raise ValueError("is blank: nothing but white space or characters of no width")
    return text


MAX_ID = 256
"""Characters of an id."""
MAX_HISTORY = 10_000
"""Items of a history."""
Identifier = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
"""An id; files may also have integers, which stand for their decimal text."""
OwnIdentifier = Annotated[Identifier, AfterValidator(not_blank)]
"""The id that a row gives; those that refer to it need no check of their own."""
Text = Annotated[str, Field(min_length=1), AfterValidator(not_blank)]
Split = Literal["train", "valid", "test"]
TimestampUnit = Literal["s", "ms", "us", "ns"]
"""Unit of an upload's times: seconds, milli-, micro- or nanoseconds since 1970."""


class SampleRow(BaseModel):
    """One training sample: what a user did, and what came next."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra=described)

    id: OwnIdentifier
    """Id of the sample, unique in the file; results name it by this."""
    history: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_HISTORY)]
    """Item ids, most recent last."""
    target: Identifier
    """Id of the item that came next."""
    user_id: OwnIdentifier | None = None
    """Whose history it is; null where unknown."""
    timestamp: float | None = None
    """When the target was chosen, in seconds since 1970."""
    ratings: list[float | None] | None = None
    """One rating per history item, or null where unknown."""
    history_timestamps: list[float | None] | None = None
    """One time per history item, in seconds since 1970: lets the prompt say how long ago each was."""
    split: Split | None = None
    """Part of the data that it belongs to; null for none."""

    @model_validator(mode="after")
    def _aligned(self) -> SampleRow:
        for name in ("ratings", "history_timestamps"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.history):
                raise ValueError(f"{name} has {len(values)} values for {len(self.history)} history items")
        return self


class ItemRow(BaseModel):
    """One catalogue item; every further field is kept and shown to the model as an attribute."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, json_schema_extra=described)

    item_id: OwnIdentifier
    """Id that histories and targets refer to, unique in the catalogue."""
    title: Annotated[Text, Field(max_length=2_000)]
    """What the model reads of the item, and names it by."""


def _shape(value: object) -> str | None:
    """Return whether to check a value as a text or as a list: only the faults of that kind are then reported."""
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else None


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=described)

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: Text
    """A text; a list of parts that are all text becomes one, a line each."""


class PromptRow(BaseModel):
    """One prompt to answer in text; every further field is kept, and handed to the rewards."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, json_schema_extra=described)

    id: OwnIdentifier
    """Id of the prompt, unique in the file; results name it by this."""
    prompt: Annotated[
        Annotated[Text, Tag("text")] | Annotated[list[Message], Field(min_length=1, max_length=1_000), Tag("list")],
        Discriminator(
            _shape,
            custom_error_type="text_or_list",
            custom_error_message="Input should be a text or a list of messages",
        ),
    ]
    """A text is one user turn."""
    answer: (
        Annotated[
            Annotated[Text, Tag("text")] | Annotated[list[Text], Field(min_length=1, max_length=10_000), Tag("list")],
            Discriminator(
                _shape,
                custom_error_type="text_or_list",
                custom_error_message="Input should be a text or a list of texts",
            ),
        ]
        | None
    ) = None
    """What rewards compare with: a text, or several that are equally right (for `ranked_ndcg`: relevant)."""
    source: OwnIdentifier | None = None
    """Data set that it comes from, e.g. `openai/gsm8k`; exports hand it on."""
    split: Split | None = None
    """Part of the data that it belongs to; null for none."""

    @property
    def messages(self) -> list[Message]:
        """Return the prompt as a chat."""
        return [Message(role="user", content=self.prompt)] if isinstance(self.prompt, str) else self.prompt

    @model_validator(mode="after")
    def _waits_for_an_answer(self) -> PromptRow:
        if isinstance(self.prompt, list) and self.prompt[-1].role == "assistant":
            raise ValueError("the prompt ends with the assistant's turn; end with the turn that it should answer")
        return self


class RewardRow(BaseModel):
    """Rewards of one sample, measured elsewhere; further fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, json_schema_extra=described)

    sample_id: Identifier
    """Id of a sample of the dataset; in files also an integer, which stands for its decimal text."""
    reward: Annotated[list[AnyNumber], Field(min_length=1, max_length=1_000)]
    """One per rollout."""
    hit: list[bool] | None = None
    """Per rollout, whether it reached the goal."""
    ndcg: list[float] | None = None
    """Per rollout; above 0 is a hit, where `hit` is not given."""

    @model_validator(mode="after")
    def _aligned(self) -> RewardRow:
        for name in ("hit", "ndcg"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.reward):
                raise ValueError(f"{name} has {len(values)} values for {len(self.reward)} rewards")
        return self

    @property
    def hits(self) -> list[bool] | None:
        """Return the outcome of each rollout, where it is known."""
        if self.hit is not None:
            return self.hit
        return None if self.ndcg is None else [value > 0 for value in self.ndcg]
