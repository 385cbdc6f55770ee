"""Try a model's files and all prompts of a pool out: in a separate process, before a GPU is taken for any of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np

from minirec.api_schemas.datasets import Kind
from minirec.policy.reference import ResolvedModel
from minirec.policy.report import PoolReport
from minirec.policy.sandbox import PoolData, Preflight, run_preflight
from minirec.specs import CheckSpec, fingerprint, rows_fingerprint
from minirec.store.blobs import BlobStore
from minirec.store.machine import Outcome
from minirec.worker.datasets import dataset_files, prompts_file
from minirec.worker.plan import shards
from minirec.worker.policies import resolve_model
from minirec.worker.pools import Rows, pool_of
from minirec.worker.work import UnitError, Work

MAX_IDS = 1_000
"""Sample ids that an error or a result lists."""
KEPT = 16
"""Reports that this process remembers."""

_reports: dict[str, PoolReport] = {}


def run(work: Work, spec: CheckSpec) -> Outcome:
    """Store what of a shard of the pool does not fit the model."""
    blobs, unit = work.store.blobs, work.claim.unit
    rows = pool_of(blobs, spec)[unit * spec.SHARD_SIZE : (unit + 1) * spec.SHARD_SIZE]
    if blobs.exists(spec.shard_blob(unit)):
        work.progress(len(rows), cached=len(rows))
        return Outcome()
    report = check_rows(
        partial(_report_progress, work),
        resolve_model(spec.model, work.settings),
        pool_data(blobs, spec.content_hash, spec.kind, rows),
        content_hash=spec.content_hash,
        window=spec.window,
        max_new_tokens=spec.max_new_tokens,
        with_items=unit == 0,
    )
    blobs.put_bytes(spec.shard_blob(unit), json.dumps(asdict(report)).encode())
    work.done = len(rows)
    return Outcome()


def check_rows(
    on_progress: Callable[[int], None],
    model: ResolvedModel,
    data: PoolData,
    *,
    content_hash: str,
    window: int,
    max_new_tokens: int,
    with_items: bool = True,
) -> PoolReport:
    """Try a model and rows of a dataset out; a report on the same content is remembered.

    Args:
        on_progress: Gets how many prompts are done, and may raise to stop.
        model: The model's files.
        data: The dataset's files, and the rows.
        content_hash: The dataset's content.
        window: History items that a prompt shows.
        max_new_tokens: Tokens that there has to be room for behind a prompt.
        with_items: Whether to try the catalogue's items, too.

    Returns:
        What does not fit.

    Raises:
        ModelRefused: The model cannot be used, or holds up whoever reads it.
    """
    key = fingerprint(
        {
            "model": model.fingerprint(),
            "content": content_hash,
            "rows": rows_fingerprint(np.asarray(data.rows, dtype=np.int64)),
            "window": window,
            "room": max_new_tokens,
            "items": with_items,
        }
    )
    if key not in _reports:
        request = Preflight(model, data, window=window, max_new_tokens=max_new_tokens, with_items=with_items)
        report = PoolReport(**run_preflight(request, on_progress=on_progress))
        while len(_reports) >= KEPT:
            _reports.pop(next(iter(_reports)))
        _reports[key] = report
    return _reports[key]


def shards_of(spec: CheckSpec, samples: int) -> list[str]:
    """Return the blobs of a check of so large a pool."""
    return [spec.shard_blob(shard) for shard in range(shards(samples, spec.SHARD_SIZE))]


def pool_data(blobs: BlobStore, content_hash: str, kind: Kind, rows: Rows) -> PoolData:
    """Return the files of a dataset on this machine, and rows of it. Raises BlobMissingError."""
    if kind == "prompts":
        return PoolData(prompts_file(blobs, content_hash), None, rows.tolist())
    return PoolData(*dataset_files(blobs, content_hash), rows.tolist())


def refuse_unusable(report: PoolReport, ids: list[str], items: list[str]) -> None:
    """Raise UnitError for samples that the model's template refuses, and for items that do not fit into its context.

    `ids` are those of all samples of the dataset, `items` those of its catalogue.
    """
    if report.items_too_long:
        named = [items[row] for row in report.items_too_long]
        raise UnitError(
            "invalid_sample",
            f"{len(named)} of {len(items)} items do not fit into the model's context; {named[0]!r}: "
            f"{report.item_reason}. Shorten their fields, or choose another model. They are {_listed(named)}",
        )
    if report.refused:
        raise sample_error("invalid_sample", report.refused, report.refused_reason, ids, of=report.prompts)


def sample_error(code: str, rows: list[int], reason: str | None, ids: list[str], *, of: int) -> UnitError:
    """Return an error about samples, with as many of their ids as an error lists.

    Args:
        code: Of the error.
        rows: The samples' rows.
        reason: What is wrong with the first of them.
        ids: Those of all samples of the dataset.
        of: How many samples were tried.
    """
    named = [ids[row] for row in rows]
    return UnitError(code, f"{len(named)} of {of} samples: {reason}", sample_ids=named[:MAX_IDS], samples=len(named))


def _report_progress(work: Work, done: int) -> None:
    if done > work.done:
        work.progress(done)
    else:
        work.check()


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
