"""First stage: check the model, draw the pool, and plan what has to be done."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from api_schemas import AdapterReference, ModelReference, SelectionCreate, TextReward
from api_schemas import Dataset as DatasetRecord
from minirec import __version__
from minirec.data.dataset import PromptDataset
from minirec.data.prompts import PROMPT_VERSION
from minirec.policy.reference import ResolvedModel
from minirec.rewards import Scorer, UnknownRewardError
from minirec.store.machine import Outcome
from minirec.store.names import signals_blob
from worker import plan
from worker.datasets import open_samples
from worker.policies import resolve_model
from worker.work import UnitError, Work

Rows = npt.NDArray[np.int64]


def run(work: Work) -> Outcome:
    """Draw the pool, pin what it is judged by, and append the stages that follow."""
    selection_id = work.claim.spec["job_id"]
    request = SelectionCreate.model_validate_json(work.store.jobs.get(selection_id).fields["request"])
    record = work.store.datasets.get(request.dataset_id)
    dataset = open_samples(work.store.blobs, record.content_hash, record.kind)
    rows = dataset.pool(split=request.pool.split, max_samples=request.pool.max_samples, seed=request.pool.seed)
    if len(rows) == 0:
        raise UnitError("empty_pool", f"the dataset has no samples in split {request.pool.split!r}")
    if request.signals == "uploaded":
        outcome = _by_signals(work, selection_id, request, rows)
    else:
        subset_size(request.size, len(rows))
        if isinstance(dataset, PromptDataset):
            check_rewards(dataset, request.rewards, rows)
        outcome = _by_model(work, selection_id, request, record, rows)
    work.done = 1
    return outcome


def _by_model(work: Work, selection_id: str, request: SelectionCreate, record: DatasetRecord, rows: Rows) -> Outcome:
    """Plan to score the pool with a model, after training a proxy where one is asked for."""
    reference = _policy_reference(request)
    model = resolve_model(reference, work.settings)
    basis = plan.Basis(
        content_hash=record.content_hash,
        rows=plan.rows_fingerprint(rows),
        model=pin(reference, model).model_dump(mode="json"),
        model_fingerprint=model.fingerprint(),
        prompt=PROMPT_VERSION,
    )
    names = plan.names(request, basis)
    work.store.blobs.put_arrays(plan.pool_blob(names.scoring), {"rows": rows})
    if names.proxy is not None:
        work.store.blobs.put_arrays(plan.pool_blob(names.proxy), {"rows": rows})
    return Outcome(
        job={"provenance": json.dumps(provenance(record.content_hash) | _model_provenance(model, names))},
        stages=plan.stages(
            request,
            basis,
            names,
            selection_id=selection_id,
            items=record.n_items,
            samples=len(rows),
            settings=work.settings,
        ),
    )


def check_rewards(prompts: PromptDataset, rewards: Sequence[TextReward] | None, rows: Rows) -> None:
    """Raises UnitError for rewards that are not known here, or that compare with answers that some rows lack."""
    try:
        scorer = Scorer(rewards or [])
    except UnknownRewardError as error:
        raise UnitError("unknown_reward", str(error)) from error
    if not rewards:
        raise UnitError("rewards_missing", "the dataset has prompts, and no rewards say what an answer earns")
    if scorer.needs_answer and (missing := prompts.without_answer(rows)):
        raise UnitError(
            "answer_missing",
            f"{len(missing)} of {len(rows)} samples have no answer for {scorer.needs_answer[0]!r} to compare with, "
            f"the first is {missing[0]!r}",
        )


def _by_signals(work: Work, selection_id: str, request: SelectionCreate, rows: Rows) -> Outcome:
    """Plan to select by the signals that were uploaded for the dataset."""
    signals = work.store.signals.get(request.dataset_id)
    if signals is None:
        raise UnitError(
            "no_signals", f"no signals were uploaded for {request.dataset_id}; POST them to /v1/datasets/.../signals"
        )
    known = work.store.blobs.get_arrays(signals_blob(signals.content_hash))["rows"]
    pool = rows[np.isin(rows, known)]
    subset_size(request.size, len(pool))
    work.store.blobs.put_arrays(plan.pool_blob(selection_id), {"rows": pool})
    missing = len(rows) - len(pool)
    return Outcome(
        job={"provenance": json.dumps(provenance(signals.dataset_content_hash) | {"signals": signals.content_hash})},
        stages=[plan.selecting(selection_id, signals=signals.content_hash, pool=selection_id)],
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


def subset_size(size: int | float, pool: int) -> int:
    """How many samples to select. Raises UnitError when the pool is too small."""
    if isinstance(size, float):
        return max(1, round(size * pool))
    if size > pool:
        raise UnitError(
            "size_too_large", f"size is {size} and the pool has {pool} samples; ask for fewer, or for a part like 0.1"
        )
    return size


def pin(reference: ModelReference, model: ResolvedModel) -> ModelReference:
    """The reference with every revision resolved: all workers load the same weights, or say that they cannot."""
    adapter = reference.adapter
    if adapter is not None:
        adapter = adapter.model_copy(update={"revision": model.adapter_revision})
    return reference.model_copy(update={"revision": model.revision, "adapter": adapter})


def _model_provenance(model: ResolvedModel, names: plan.Names) -> dict[str, object]:
    return {
        "model": model_facts(model),
        "adapter_revision": model.adapter_revision,
        "proxy_fingerprint": names.proxy,
        "catalogue_fingerprint": names.catalogue,
        "scoring_fingerprint": names.scoring,
        "prompt_version": PROMPT_VERSION,
        "scoring_version": plan.SCORING_VERSION,
    }


def model_facts(model: ResolvedModel) -> dict[str, str]:
    """The model without its adapter, for the record."""
    return {"source": model.source, "id": model.id, "revision": model.revision, "dtype": model.dtype}


def provenance(content_hash: str) -> dict[str, object]:
    """What a result was computed from and with."""
    return {
        "dataset_content_hash": content_hash,
        "versions": {
            "python": platform.python_version(),
            "minirec": __version__,
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
        },
    }
