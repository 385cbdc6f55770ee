"""Prompts: rows of verl and TRL, OpenAI-style messages, and tables of questions with answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from minirec.data.importers.base import Contents, Importer, Match, Options, Tally, split_of_value
from minirec.data.importers.catalogue import plain
from minirec.data.importers.errors import SourceError
from minirec.data.importers.sources import AnyTable, Source, split_of
from minirec.data.importers.values import as_id, as_list

PROMPTS = ("prompt", "messages", "conversations", "question", "problem", "instruction", "query")
ANSWERS: tuple[str, ...] = (
    "answer",
    "solution",
    "ground_truth",
    "reference_answer",
    "final_answer",
    "response",
    "completion",
    "output",
    "chosen",
    "label",
)
_ROLES = {"developer": "system", "human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_ROLES |= {"system": "system", "user": "user", "assistant": "assistant"}


def recognise(source: Source, options: Options) -> Match | None:
    """Recognise tables with a prompt; those of verl, chats, and whatever was named in `columns` are sure."""
    tables = _tables(source, options)
    if not tables:
        return None
    names = set(tables[0].columns)
    prompt, answer = _column(tables[0], "prompt", PROMPTS, options), _answer_column(tables[0], options)
    verl = {"prompt", "reward_model"} <= names
    sure = verl or prompt in ("prompt", "messages", "conversations") or "prompt" in options.columns
    found = "the layout of verl" if verl else f"answers in {answer!r}" if answer else "no answers"
    return Match(f"prompts in {prompt!r} of {', '.join(table.name for table in tables)}, {found}", sure)


def read(source: Source, options: Options, tally: Tally) -> Contents:
    """Read prompts; a chat that ends with the assistant's turn has its answer there."""
    tables = _tables(source, options)
    if not tables:
        raise SourceError(f"{source.name} has no table with a prompt; say --column prompt=NAME")
    return Contents(prompts=_rows(tables, options, tally))


def _tables(source: Source, options: Options) -> list[AnyTable]:
    return [table for table in source.tables if _column(table, "prompt", PROMPTS, options) is not None]


def _column(table: AnyTable, role: str, usual: tuple[str, ...], options: Options) -> str | None:
    if role in options.columns:
        return options.columns[role] if options.columns[role] in table.columns else None
    return next((name for name in usual if name in table.columns), None)


def _answer_column(table: AnyTable, options: Options) -> str | None:
    if "answer" not in options.columns and {"reward_model", "answer"} & set(table.columns) == {"reward_model"}:
        return None
    return _column(table, "answer", ANSWERS, options)


def _rows(tables: list[AnyTable], options: Options, tally: Tally) -> Iterator[dict[str, Any]]:
    for table in tables:
        prompt, answer = _column(table, "prompt", PROMPTS, options), _answer_column(table, options)
        assert prompt is not None
        split = split_of(table.name)
        stem = split or table.name.rsplit("/", 1)[-1].split(".")[0]
        ids = _ids(table, options)
        for line, row in table.rows():
            tally.count("rows")
            where = f"{table.name}, line {line}"
            made = _row(row, prompt, answer, options, tally)
            if isinstance(made, str):
                tally.drop(made, where)
                continue
            if ids is not None:
                made["id"] = as_id(row.get(ids)) or f"{stem}-{line}"
            elif "id" not in made and not _has_own_id(row):
                made["id"] = f"{stem}-{line}"
            if split and "split" not in made:
                made["split"] = split
            yield made


def _ids(table: AnyTable, options: Options) -> str | None:
    """Return the column with ids, if all of its first values differ."""
    for name in (options.columns.get("id"), "id", "uuid", "question_id", "unique_id", "task_id"):
        if name is not None and name in table.columns:
            first = [as_id(row.get(name)) for _, row in islice(table.rows(), 200)]
            if None not in first and len(set(first)) == len(first):
                return name
    return None


def _has_own_id(row: dict[str, Any]) -> bool:
    info = row.get("extra_info")
    return bool(row.get("minirec_id")) or (isinstance(info, dict) and info.get("index") is not None)


def _row(row: dict[str, Any], prompt: str, answer: str | None, options: Options, tally: Tally) -> dict[str, Any] | str:
    """Return a prompt's row, or why it is none."""
    chat = _chat(row.get(prompt))
    if isinstance(chat, str) and not chat.strip():
        return "row without a prompt"
    if chat is None:
        return "row whose prompt is neither a text nor a chat of texts"
    right: Any = row.get(answer) if answer is not None else None
    if prompt == "instruction" and isinstance(chat, str) and isinstance(more := row.get("input"), str) and more.strip():
        chat = f"{chat}\n\n{more}"
    if isinstance(chat, list) and chat[-1]["role"] == "assistant":
        *chat, last = chat
        right = last["content"] if right is None else right
        if not chat:
            return "chat without a turn to answer"
    used = {prompt, answer, *(options.columns[role] for role in ("id", "split") if role in options.columns)}
    if prompt == "instruction":
        used.add("input")
    made = {name: plain(value) for name, value in row.items() if name not in used and value is not None}
    made["prompt"] = chat
    if right is not None:
        made["answer"] = _answer(right)
    made.pop("split", None)
    if (split := split_of_value(row.get(options.columns.get("split", "split")), tally)) is not None:
        made["split"] = split
    return made


def _answer(value: Any) -> Any:
    """Return an answer as a text, or as a list of texts."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):  # a chat, as TRL's completions are
        return value[-1].get("content")
    value = plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _chat(value: Any) -> str | list[dict[str, Any]] | None:
    """Return a text, or a chat with `role` and `content` in each turn, also from JSON in a text; None otherwise."""
    if isinstance(value, str):
        if not value.lstrip().startswith("[{"):
            return value
        value = as_list(value)
    if not isinstance(value, list) or not value:
        return None
    turns = [_turn(turn) for turn in value]
    return None if None in turns else [turn for turn in turns if turn is not None]


def _turn(turn: Any) -> dict[str, Any] | None:
    if not isinstance(turn, dict):
        return None
    role = _ROLES.get(str(turn.get("role", turn.get("from", ""))))
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "\n".join(map(str, texts)) if texts and all(isinstance(text, str) for text in texts) else None
    if role is None or not isinstance(content, str) or not content.strip():
        return None
    calls = turn.get("tool_calls") or turn.get("function_call")
    return None if calls else {"role": role, "content": content}


IMPORTER = Importer(
    "prompts",
    "verl and TRL files, OpenAI-style messages, questions with answers",
    "a table with prompt, messages, question, ...; answers from reward_model, solution, answer, or the last turn",
    recognise,
    read,
)
