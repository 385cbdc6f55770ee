"""First stage of a selection: check the model, draw the pool, and plan what has to be done."""

from __future__ import annotations

import json

from minirec.api_schemas import AdapterReference, ModelReference, SelectionCreate
from minirec.api_schemas import Dataset as DatasetRecord
from minirec.api_schemas.selections import PoolSettings
from minirec.data.dataset import PromptDataset
from minirec.specs import CheckSpec, PinnedModel, PlanSelection, PrepareSelection, SelectSpec, rows_fingerprint
from minirec.specs.selection import PoolOfRows
from minirec.store.machine import Outcome, Stage
from minirec.store.names import signals_blob
from minirec.worker.check_pool import shards_of
from minirec.worker.checks import check_rewards, subset_size
from minirec.worker.computing import computing_for
from minirec.worker.datasets import open_samples
from minirec.worker.measured import validation_pool
from minirec.worker.planning import plan_checked
from minirec.worker.policies import pin, resolve_model
from minirec.worker.pools import Rows, draw_pool, with_signals
from minirec.worker.provenance import model_facts, prompted_by, provenance
from minirec.worker.work import UnitError, Work


def run(work: Work, spec: PrepareSelection) -> Outcome:
    """Draw the pool, pin what it is judged by, and append the stages that follow."""
    request = SelectionCreate.model_validate_json(work.store.jobs.get(spec.job_id).fields["request"])
    record = work.store.datasets.get(request.dataset_id)
    dataset = open_samples(work.store.blobs, record.content_hash, record.kind)
    rows = draw_pool(dataset, request.pool)
    if len(rows) == 0:
        raise UnitError("empty_pool", f"the dataset has no samples in split {request.pool.split!r}")
    work.done = 1
    if request.signals == "uploaded":
        return _by_signals(work, spec.job_id, request, record, rows)
    subset_size(request.size, len(rows))
    if isinstance(dataset, PromptDataset):
        check_rewards(dataset, request.rewards, rows)
    reference = _policy_reference(request)
    resolved = resolve_model(reference, work.settings)
    computing = computing_for(reference, work.settings, work.store.devices, on_gpu_queue=spec.on_gpu_queue)
    if computing is None:
        return Outcome(stages=[PrepareSelection(job_id=spec.job_id, on_gpu_queue=True).stage("preparing")])
    model = pin(reference, resolved, computing.dtype, computing.only_on)
    facts = provenance(record.content_hash) | model_facts(model, computing) | prompted_by(resolved)
    check, blobs, stage = _check(record, request, request.pool, rows, model, "checking")
    stages, validation = [stage], None
    beside = validation_pool(request)
    beside_rows = rows[:0] if beside is None else draw_pool(dataset, beside)
    if beside is not None and len(beside_rows):
        validation, more, stage = _check(record, request, beside, beside_rows, model, "checking_validation")
        stages, blobs = [*stages, stage], [*blobs, *more]
    if all(map(work.store.blobs.exists, blobs)):
        # Somebody has checked this pool: whoever asks for another size should not have to wait.
        outcome = plan_checked(work, spec.job_id, request, check, facts, validation=validation)
        outcome.stages[:0] = stages
    else:
        plan = PlanSelection(job_id=spec.job_id, check=check.name, validation_check=validation and validation.name)
        outcome = Outcome(job={"provenance": json.dumps(facts)}, stages=[*stages, plan.stage("planning")])
    outcome.warnings = [*resolved.warnings, *outcome.warnings]
    return outcome


def _check(
    record: DatasetRecord, request: SelectionCreate, pool: PoolSettings, rows: Rows, model: PinnedModel, stage: str
) -> tuple[CheckSpec, list[str], Stage]:
    """Return the check of these rows, the blobs of its reports, and its stage.

    Args:
        record: The dataset.
        request: The selection's.
        pool: How the rows are drawn.
        rows: Those that are checked.
        model: The policy, pinned.
        stage: Its name.
    """
    check = CheckSpec(
        **_pool(record, pool, rows).model_dump(),
        model=model,
        window=request.rollouts.window,
        max_new_tokens=request.rollouts.max_new_tokens,
    )
    blobs = shards_of(check, len(rows))
    return check, blobs, check.stage(stage, units=len(blobs), total=len(rows))


def _pool(record: DatasetRecord, pool: PoolSettings, rows: Rows) -> PoolOfRows:
    return PoolOfRows(content_hash=record.content_hash, kind=record.kind, rows=rows_fingerprint(rows), pool=pool)


def _by_signals(work: Work, selection_id: str, request: SelectionCreate, record: DatasetRecord, rows: Rows) -> Outcome:
    """Plan to select by the signals that were uploaded for the dataset."""
    signals = work.store.signals.get(request.dataset_id)
    if signals is None:
        raise UnitError(
            "no_signals", f"no signals were uploaded for {request.dataset_id}; POST them to /v1/datasets/.../signals"
        )
    known = with_signals(work.store.blobs, rows, signals.content_hash)
    subset_size(request.size, len(known))
    pool = _pool(record, request.pool, known)
    select = SelectSpec(**pool.model_dump(), job_id=selection_id, signals=signals.content_hash)
    missing = len(rows) - len(known)
    return Outcome(
        job={"provenance": json.dumps(provenance(signals.dataset_content_hash) | {"signals": signals.content_hash})},
        stages=[select.stage("selecting")],
        outputs=[signals_blob(signals.content_hash)],  # Kept as long as the job, whatever is uploaded next.
        warnings=[f"{missing} of the pool's {len(rows)} samples have no uploaded rewards and were left out"]
        if missing
        else [],
    )


def _policy_reference(request: SelectionCreate) -> ModelReference:
    """The model, with the adapter that was given as the proxy, if one was."""
    if request.model is None:
        raise UnitError("model_not_found", "the selection names no model")
    if isinstance(request.proxy, AdapterReference):
        return request.model.model_copy(update={"adapter": request.proxy})
    return request.model
