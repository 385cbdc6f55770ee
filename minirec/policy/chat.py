"""Chats as tokens, and completions as text: what a model's tokenizer and chat template make of them.

Needs no weights, so that all prompts of a pool can be tried before a GPU is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2

from minirec.data.prompts import ANSWER
from minirec.policy.errors import InvalidSampleError, ModelRefused, refusing
from minirec.policy.reference import ResolvedModel

FIXED_DATE = "01 Jan 2026"
"""Some chat templates print today's date, and would score the same sample differently tomorrow."""
ANSWER_TAGS = (ANSWER, ANSWER.replace("<", "</"))
PROBE = "Hello"
"""Said in a turn to find out whether a template writes it."""
MAX_RENDERED_CHARACTERS = 8 * 1024**2
"""Longest text that a template may make of one chat."""
Message = Mapping[str, str]


def without_clock(template: str) -> str:
    """Return a chat template whose `strftime_now` tells a fixed date, in whatever format it is asked for.

    transformers offers templates a function of that name, and lets nobody else offer one; a macro hides it.
    """
    return template if template.startswith(_CLOCK) else _CLOCK + template


def _clock() -> str:
    time = datetime(2026, 1, 1)
    codes = [*(f"%-{code}" for code in "dmHI"), *(f"%{code}" for code in "aAbBcdDeFfGHIjmMpSTuUVwWxXyYZz")]
    steps = "".join(f" | replace({code!r}, {time.strftime(code)!r})" for code in [*codes, "%%"])
    # The line ends with the block, where Jinja drops the end of a line: nothing is added to what is written.
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{steps} }}}}{{%- endmacro %}}\n"


_CLOCK = _clock()


class TemplateError(Exception):
    """A template does not take a chat, or cannot be used at all; the message is the reason."""


class Chat:
    """Tokenizer and chat template of one model."""

    def __init__(
        self, tokenizer: Any, *, end_ids: Iterable[int], max_positions: int | None = None, name: str = "the model"
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: A transformers tokenizer, with its chat template if it has one.
            end_ids: Tokens that end a turn.
            max_positions: Longest sequence the model was made for, in tokens; None where it does not say.
            name: What messages call the model.
        """
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_ids)
        self.max_positions = max_positions
        self.name = name
        self.answer_ids: list[int] = tokenizer.encode(ANSWER, add_special_tokens=False)
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def encode(self, messages: Sequence[Message], *, sample_id: str | None = None) -> list[int]:
        """Return the tokens of a chat with the assistant's turn opened; plain text for models without a template.

        Raises `InvalidSampleError` for a chat that the template refuses, see `accepted`.
        """
        if self.tokenizer.chat_template is None:
            tokens: list[int] = self.tokenizer.encode(plain_text(messages))
            return tokens[:-1] if tokens and tokens[-1] in self.end_ids else tokens
        return list(self.tokenizer.encode(self._text(messages, sample_id), add_special_tokens=False))

    def encode_all(self, chats: Sequence[Sequence[Message]], *, sample_ids: Sequence[str | None]) -> list[list[int]]:
        """Return what `encode` does of each of N chats, by a tokenizer that works on many at once."""
        if self.tokenizer.chat_template is None:
            return [self.encode(chat, sample_id=name) for chat, name in zip(chats, sample_ids, strict=True)]
        texts = [self._text(chat, name) for chat, name in zip(chats, sample_ids, strict=True)]
        return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _text(self, messages: Sequence[Message], sample_id: str | None) -> str:
        try:
            return self._render(self.accepted(messages, sample_id=sample_id))
        except TemplateError as error:
            raise _refused(messages, sample_id, error) from error

    def accepted(self, messages: Sequence[Message], *, sample_id: str | None = None) -> list[dict[str, str]]:
        """Return a chat as the template takes it (docs/method.md, section 2).

        That is the chat itself, or, where the template refuses it only for its system turn or leaves system turns out,
        the chat with the system turn's text moved to the beginning of the first user turn, an empty line between them.
        Raises `InvalidSampleError` with the reason where the template refuses that, too.
        """
        given = [dict(message) for message in messages]
        if self.tokenizer.chat_template is None or not any(message["role"] == "system" for message in given):
            return given
        try:
            self._render(given)
            if not self._writes_system:
                raise TemplateError("it leaves out what a system turn says")
        except TemplateError as error:
            moved = _without_system(given)
            if moved is None:
                raise _refused(given, sample_id, error) from error
            try:
                self._render(moved)
            except TemplateError as other:
                raise _refused(given, sample_id, other) from other
            return moved
        return given

    def check(self) -> None:
        """Check that the template can write a user's turn.

        Raises `ModelRefused` with the code `model_unusable` for one that cannot: it has a fault, needs variables that
        it does not get, leaves out what the user says, or makes text without an end.
        """
        if self.tokenizer.chat_template is None:
            return
        try:
            if PROBE not in self._render([{"role": "user", "content": PROBE}]):
                raise TemplateError("what the user says is not in the text that it makes")
        except TemplateError as error:
            raise ModelRefused(
                "model_unusable",
                f"The chat template of {self.name!r} cannot write a user's turn: {error}. Correct chat_template in its "
                "folder, or choose another model.",
            ) from error

    def text(self, tokens: Sequence[int]) -> str:
        """Return a completion as text, without the tokens that only end, pad or open turns.

        Special tokens that belong to an answer stay: `<answer>`, item tokens, whatever a tokenizer registers as
        special without the template using it to mark turns.
        """
        left_out = self.turn_markers
        kept = [token for token in tokens if token not in left_out]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    @cached_property
    def turn_markers(self) -> frozenset[int]:
        """Tokens that end, pad or open turns."""
        tokenizer = self.tokenizer
        names = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
        named = flat_ids(getattr(tokenizer, f"{name}_token_id", None) for name in names)
        marked = self.end_ids | named | self._special_between_turns()
        return frozenset(marked - {tokenizer.convert_tokens_to_ids(tag) for tag in ANSWER_TAGS})

    def _special_between_turns(self) -> set[int]:
        """Special tokens that the template writes with every turn, whatever was said in it."""
        if self.tokenizer.chat_template is None:
            return set()
        turns = [{"role": role, "content": "word"} for role in ("user", "assistant", "user", "assistant")]
        try:
            shorter, longer = self._render(turns[:2], opened=False), self._render(turns, opened=False)
            opened, closed = self._render(turns[:3]), self._render(turns[:3], opened=False)
        except TemplateError:
            return set()
        # What a template writes once, before all turns, may name tokens that answers consist of.
        added = longer[len(shorter) :] if longer.startswith(shorter) else longer
        added += opened[len(closed) :]
        special = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return special.intersection(self.tokenizer.encode(added, add_special_tokens=False))

    @cached_property
    def _writes_system(self) -> bool:
        """Return whether the template writes what a system turn says, or refuses it with a TemplateError."""
        try:
            return PROBE in self._render([{"role": "system", "content": PROBE}, {"role": "user", "content": "word"}])
        except TemplateError:
            return True

    @property
    def template(self) -> str | None:
        """The chat template, without a clock; None for a model that has none."""
        if self.tokenizer.chat_template is None:
            return None
        return without_clock(self.tokenizer.get_chat_template())

    def _render(self, messages: Sequence[Message], *, opened: bool = True) -> str:
        """The text of a chat. Raises `TemplateError`."""
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=opened,
                date_string=FIXED_DATE,
            )
        except Exception as error:  # Templates are programs: they raise whatever programs raise.
            reason = str(error) if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {error}"
            raise TemplateError(" ".join(reason.split())[:300]) from error
        if len(text) > MAX_RENDERED_CHARACTERS:
            raise TemplateError(f"it makes {len(text):,} characters")
        return text


def open_chat(resolved: ResolvedModel) -> Chat:
    """Open tokenizer and chat template of a resolved model: its adapter's where it brings them, else its own.

    Raises `ModelRefused` with the code `model_unusable`, naming the file.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    with refusing(f"{resolved.id}/config.json could not be read as a model's configuration"):
        config = AutoConfig.from_pretrained(resolved.path, trust_remote_code=False, local_files_only=True)
        text_config = config.get_text_config()
    folder = resolved.tokenizer_path
    owner = resolved.id if folder == resolved.path else f"the adapter of {resolved.id}"
    with refusing(
        f"The tokenizer of {owner!r} could not be read",
        advice=f"{_tokenizer_advice()} Its files are in {folder.name!r}.",
    ):
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False, local_files_only=True)
        tokenizer.encode("Hello")
    if resolved.template_path is not None:
        tokenizer.chat_template = _read_template(resolved)
    ends = flat_ids([tokenizer.eos_token_id, config.eos_token_id])
    if (resolved.path / "generation_config.json").is_file():
        with refusing(f"{resolved.id}/generation_config.json could not be read"):
            generation = GenerationConfig.from_pretrained(resolved.path, local_files_only=True)
            ends |= flat_ids([generation.eos_token_id])
    positions = getattr(text_config, "max_position_embeddings", None)
    return Chat(tokenizer, end_ids=ends, max_positions=positions, name=resolved.id)


def flat_ids(values: Iterable[Any]) -> set[int]:
    """Return the token ids among values that are ids, lists of ids, or None; below 0 they stand for none, too.

    Raises ValueError for anything else.
    """
    found: set[int] = set()
    for value in values:
        for token in value if isinstance(value, list | tuple) else [value]:
            if token is not None and type(token) is not int:
                raise ValueError(f"{token!r} stands where the id of a token belongs")
            if token is not None and token >= 0:
                found.add(token)
    return found


def plain_text(messages: Sequence[Message]) -> str:
    """Return a chat for models without a chat template: what was said, and that an answer is due."""
    return "\n\n".join(message["content"] for message in messages) + "\n\nAnswer:\n"


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]] | None:
    """Return the chat with its opening system turns moved into the user turn behind them; None without such a turn."""
    count = next((place for place, message in enumerate(messages) if message["role"] != "system"), len(messages))
    rest = messages[count:]
    if not count or not rest or rest[0]["role"] != "user" or any(message["role"] == "system" for message in rest):
        return None
    parts = [message["content"] for message in messages[: count + 1]]
    return [{"role": "user", "content": "\n\n".join(part for part in parts if part)}, *rest[1:]]


def _refused(messages: Sequence[Message], sample_id: str | None, reason: TemplateError) -> InvalidSampleError:
    roles = ", ".join(message["role"] for message in messages)
    whose = "" if sample_id is None else f" of sample {sample_id!r}"
    return InvalidSampleError(
        f"the model's chat template refuses the turns{whose} ({roles}): {reason}. Change the roles or their order, or "
        "choose a model whose template takes them.",
        [] if sample_id is None else [sample_id],
    )


def _read_template(resolved: ResolvedModel) -> str:
    import json

    path = resolved.template_path
    assert path is not None
    with refusing(f"{path.name} of the adapter of {resolved.id!r} could not be read"):
        text = path.read_text(encoding="utf-8")
        return text if path.suffix == ".jinja" else str(json.loads(text)["chat_template"])


def _tokenizer_advice() -> str:
    from importlib.metadata import version

    installed = f"tokenizers {version('tokenizers')}, transformers {version('transformers')}"
    return f"Its files may be damaged, or written by newer releases than those installed ({installed})."
