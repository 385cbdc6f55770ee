"""All prompts of a pool tried on a model's tokenizer and template, before a GPU is taken for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from minirec.data.dataset import Dataset, PromptDataset
from minirec.policy.chat import Chat
from minirec.policy.errors import InvalidSampleError, TooLongError
from minirec.policy.prompts import item_prompt, text_prompt, user_prompt
from minirec.policy.report import PoolReport

PART = 64
"""Prompts between two reports."""


def check_pool(
    chat: Chat,
    dataset: Dataset | PromptDataset,
    rows: Sequence[int],
    *,
    window: int,
    max_new_tokens: int,
    with_items: bool,
    on_part: Callable[[int], None],
) -> PoolReport:
    """Make every prompt of a pool once.

    Args:
        chat: Tokenizer and template.
        dataset: Interactions or prompts.
        rows: Rows of the dataset that make the pool.
        window: History items that a prompt shows.
        max_new_tokens: Tokens that the model may write.
        with_items: Whether to make those of the catalogue's items, too.
        on_part: Gets how many prompts are made, after every `PART` of them.

    Returns:
        What does not fit. Nothing is raised for it: the caller decides what becomes of it.
    """
    report = PoolReport()
    if isinstance(dataset, PromptDataset):
        for row in _counted(rows, report, on_part):
            _try(report, row, partial(text_prompt, chat, dataset.prompt(row), room=max_new_tokens))
        return report
    items = dataset.items
    room = max_new_tokens + len(chat.answer_ids)
    for row in _counted(rows, report, on_part):
        _try(report, row, partial(user_prompt, chat, items, dataset.sample(row), window=window, room=room))
    for number, item in enumerate(items if with_items else []):
        length = len(item_prompt(chat, item))
        if chat.max_positions is not None and length > chat.max_positions:
            report.items_too_long.append(number)
            if report.item_reason is None:
                report.item_reason = f"it has {length} tokens, the model {chat.max_positions} positions"
        if (number + 1) % PART == 0:
            on_part(report.prompts)
    return report


def _try(report: PoolReport, row: int, make: Callable[[], list[int]]) -> None:
    try:
        report.longest = max(report.longest, len(make()))
    except TooLongError as error:
        report.too_long.append(row)
        report.too_long_reason = report.too_long_reason or str(error)
    except InvalidSampleError as error:
        report.refused.append(row)
        report.refused_reason = report.refused_reason or str(error)


def _counted(rows: Iterable[int], report: PoolReport, on_part: Callable[[int], None]) -> Iterator[int]:
    """The rows, counted as they are done."""
    for row in rows:
        yield row
        report.prompts += 1
        if report.prompts % PART == 0:
            on_part(report.prompts)
    on_part(report.prompts)
