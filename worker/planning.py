"""The stages of a selection by a model, once it is known which prompts of its pool fit the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from minirec.api_schemas import SelectionCreate
from minirec.data.dataset import Dataset
from minirec.policy.report import PoolReport
from minirec.specs import CheckSpec, PlanSelection, rows_fingerprint
from minirec.specs.selection import PoolOfRows
from minirec.store.machine import Outcome
from minirec.worker.check_pool import refuse_unusable, sample_error
from minirec.worker.checks import subset_size
from minirec.worker.datasets import open_samples
from minirec.worker.groups import spec_of_group
from minirec.worker.plan import plan_selection
from minirec.worker.pools import Rows, pool_of, read_report
from minirec.worker.work import Work


def run(work: Work, spec: PlanSelection) -> Outcome:
    """Append the stages that follow the check."""
    _, check = spec_of_group(work.store, CheckSpec, spec.check)
    validation = None
    if spec.validation_check is not None:
        _, validation = spec_of_group(work.store, CheckSpec, spec.validation_check)
    job = work.store.jobs.get(spec.job_id)
    request = SelectionCreate.model_validate_json(job.fields["request"])
    work.done = 1
    facts = json.loads(job.fields["provenance"])
    return plan_checked(work, spec.job_id, request, check, facts, validation=validation)


def plan_checked(
    work: Work,
    job_id: str,
    request: SelectionCreate,
    check: CheckSpec,
    facts: Mapping[str, Any],
    *,
    validation: CheckSpec | None = None,
) -> Outcome:
    """Return the stages of a selection whose pool was checked, without those prompts that are too long.

    Args:
        work: The claim on the unit that plans.
        job_id: The selection's id.
        request: What was asked for.
        check: Of its pool.
        facts: What is known already of what the result is computed from.
        validation: The check of the validation samples whose mean gradient is matched; those too long are left out.

    Raises:
        UnitError: `invalid_sample` for samples that the model's template refuses, `prompt_too_long` where the request
            wants such prompts to fail, `empty_pool` where none fits, `size_too_large`.
    """
    blobs = work.store.blobs
    dataset = open_samples(blobs, check.content_hash, check.kind)
    report, rows = read_report(blobs, check.name), pool_of(blobs, check)
    items = [item["item_id"] for item in dataset.items] if isinstance(dataset, Dataset) else []
    refuse_unusable(report, dataset.ids, items)
    kept = _kept(request, report, rows, dataset.ids)
    subset_size(request.size, len(kept))
    beside = np.array([], dtype=np.int64)
    if validation is not None:
        found = read_report(blobs, validation.name)
        refuse_unusable(found, dataset.ids, items)
        beside = pool_of(blobs, validation)
        beside = beside[~np.isin(beside, found.too_long)]
    plan = plan_selection(
        job_id,
        request,
        _without_too_long(check, report, kept),
        check.model,
        work.settings,
        validation=_without_too_long(validation, found, beside) if validation is not None and len(beside) else None,
    )
    names = {
        "proxy_fingerprint": plan.proxy and plan.proxy.name,
        "catalogue_fingerprint": plan.catalogue and plan.catalogue.name,
        "scoring_fingerprint": plan.score.name,
        "scoring_version": plan.score.VERSION,
        "validation_scoring_fingerprint": plan.validation and plan.validation.name,
    }
    return Outcome(
        job={"provenance": json.dumps(dict(facts) | names)},
        stages=plan.stages(items=len(items), samples=len(kept), validation=len(beside)),
        warnings=[too_long_warning(report)] if report.too_long else [],
    )


def too_long_warning(report: PoolReport) -> str:
    """Return what the owner of a selection should know of prompts that were left out."""
    return (
        f"{len(report.too_long)} of the pool's {report.prompts} prompts are too long for the model and were left out "
        f"(result.too_long has their ids): {report.too_long_reason}"
    )


def _without_too_long(check: CheckSpec, report: PoolReport, kept: Rows) -> PoolOfRows:
    """Return the pool that a check leaves, as it is drawn and named."""
    return PoolOfRows(
        content_hash=check.content_hash,
        kind=check.kind,
        rows=rows_fingerprint(kept),
        pool=check.pool,
        left_out=check.name if report.too_long else None,
    )


def _kept(request: SelectionCreate, report: PoolReport, rows: Rows, ids: list[str]) -> Rows:
    if not report.too_long:
        return rows
    if request.pool.too_long == "fail":
        raise sample_error("prompt_too_long", report.too_long, report.too_long_reason, ids, of=report.prompts)
    kept: Rows = rows[~np.isin(rows, report.too_long)]
    if len(kept) == 0:
        raise sample_error("empty_pool", report.too_long, report.too_long_reason, ids, of=report.prompts)
    return kept
