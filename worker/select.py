"""Last stage: from a scored pool to the subset and its training order. No model is touched."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from api_schemas import Arm, SelectionCreate, SelectionResult
from api_schemas.selections import GATE_VERDICTS, SIGNALS, LeftOut
from minirec.selection import EmptySelectionError, Selection, select
from minirec.selection.baselines import baseline
from minirec.selection.gate import HIT_REWARD
from minirec.specs import SelectSpec, outputs
from minirec.store import Store
from minirec.store.columns import Columns
from minirec.store.machine import Outcome
from worker.check_pool import MAX_IDS
from worker.checks import subset_size
from worker.datasets import open_samples
from worker.measured import Measured, load_scored, load_uploaded, vector_name
from worker.planning import too_long_warning
from worker.pools import Rows, pool_of, read_report
from worker.work import UnitError, Work


def run(work: Work, spec: SelectSpec) -> Outcome:
    """Choose, order, and store one row per pool sample."""
    store = work.store
    request = SelectionCreate.model_validate_json(store.jobs.get(spec.job_id).fields["request"])
    rows = pool_of(store.blobs, spec, signals=spec.signals)
    if spec.signals is not None:
        measured = load_uploaded(store, spec.signals, rows)
    else:
        assert spec.scoring is not None
        measured = load_scored(store, request, spec.scoring, rows)
    try:
        chosen = choose(request, measured)
    except EmptySelectionError:
        raise
    except ValueError as error:
        ids = open_samples(store.blobs, spec.content_hash, spec.kind).ids
        raise UnitError("invalid_signals", _name_sample(str(error), ids, rows)) from error
    arms = choose_arms(request, measured, len(chosen.indices))
    result = summarise(measured, chosen, arms)
    warnings = result.warnings
    if spec.left_out is not None:
        result = _with_left_out(store, spec, spec.left_out, result)
    work.done = 1
    return Outcome(
        job={"result": result.model_dump_json()},
        warnings=warnings,
        writes=store.columns.shards_of(outputs.result_columns(spec.job_id), result_columns(measured, chosen, arms)),
    )


def _with_left_out(store: Store, spec: SelectSpec, check: str, result: SelectionResult) -> SelectionResult:
    """The result, with what a check left out of the pool. The warning of it was told when that was planned."""
    report = read_report(store.blobs, check)
    ids = open_samples(store.blobs, spec.content_hash, spec.kind).ids
    left_out = LeftOut(
        samples=len(report.too_long),
        sample_ids=[ids[row] for row in report.too_long[:MAX_IDS]],
        reason=report.too_long_reason or "",
    )
    warnings = [too_long_warning(report), *result.warnings]
    return result.model_copy(update={"left_out": left_out, "warnings": warnings})


def _name_sample(message: str, ids: list[str], rows: Rows) -> str:
    """Return the message of a refused row, with the id of the sample that the row is about."""
    found = re.search(r"\brow (\d+)\b", message)
    if found is None or int(found[1]) >= len(rows):
        return f"the measured values cannot be selected by: {message}"
    return f"the measured values of sample {ids[rows[int(found[1])]]!r} cannot be selected by: {message} of the pool"


def choose(request: SelectionCreate, measured: Measured) -> Selection:
    """The method on arrays, as the request configures it (docs/method.md, sections 3 to 6)."""
    weights, gate = request.weights, request.weights.gate
    return select(
        rewards=measured.rewards,
        hits=measured.hits,
        vectors=measured.vectors,
        embeddings=measured.embeddings,
        k=subset_size(request.size, len(measured.rows)),
        profile=request.profile,
        alpha=alpha_of(request),
        mu=weights.mu,
        sigma=weights.sigma,
        gated=gate.enabled,
        too_easy_reward=gate.too_easy_reward,
        min_spread=gate.min_spread,
        group_size=request.curriculum.group_size,
        seed=request.curriculum.seed,
    )


def alpha_of(request: SelectionCreate) -> float:
    """Weight of L beside R: as asked, else 0 beside teacher-forced gradients and 1 beside any other R, or none.

    Why: docs/results.md, "What came out".
    """
    if request.weights.alpha is not None:
        return request.weights.alpha
    scored_here = request.signals is None and request.profile == "minirec"
    return 0.0 if scored_here and vector_name(request) == "teacher" else 1.0


def choose_arms(request: SelectionCreate, measured: Measured, size: int) -> dict[str, Any]:
    """Pool positions `(size,)` that each baseline takes. Raises UnitError for one that lacks what it needs."""
    try:
        return {
            arm: baseline(
                arm,
                size,
                rewards=measured.rewards,
                vectors=measured.vectors,
                embeddings=measured.embeddings,
                target_probabilities=measured.target_probability,
                seed=request.curriculum.seed,
            )
            for arm in request.baselines
        }
    except ValueError as error:
        raise UnitError("baseline_unavailable", str(error)) from error


def result_columns(measured: Measured, chosen: Selection, arms: dict[str, Any]) -> Columns:
    """One row per pool sample: what was measured, how it was judged, and its place, if any."""
    size = len(measured.rows)
    group = np.full(size, -1, dtype=np.int32)
    group[chosen.order] = np.repeat(np.arange(len(chosen.groups), dtype=np.int32), chosen.groups)
    columns = {
        "row": measured.rows,
        "rewards": measured.rewards,
        "hit": hits_of(measured).astype(np.uint8),
        "learnability": chosen.learnability,
        "learnability_raw": chosen.learnability_raw,
        "score": chosen.scores,
        "gate": chosen.gate,
        "signal": measured.signal,
        "picked_rank": _places(chosen.indices, size),
        "training_position": _places(chosen.order, size),
        "group": group,
    }
    columns |= {f"arm:{name}": _places(indices, size) for name, indices in arms.items()}
    if chosen.representativeness is not None:
        columns["representativeness"] = chosen.representativeness
    return columns


def _places(indices: Any, size: int) -> Any:
    """(size,) each sample's place among `indices`; -1 for those that are not among them."""
    places = np.full(size, -1, dtype=np.int32)
    places[indices] = np.arange(len(indices), dtype=np.int32)
    return places


def summarise(measured: Measured, chosen: Selection, arms: dict[str, Any]) -> SelectionResult:
    """The selection in a few numbers."""
    means = measured.rewards.mean(axis=1)
    return SelectionResult(
        pool_size=len(means),
        selected=len(chosen.indices),
        gated=_tally(chosen.gate, GATE_VERDICTS, skip="open"),
        backfilled=chosen.backfilled,
        signal=_tally(measured.signal, SIGNALS),
        reward_mean=float(means.mean()),
        reward_std=float(means.std()),
        selected_reward_mean=float(means[chosen.indices].mean()),
        groups=len(chosen.groups),
        baselines={name: _compare(measured, chosen, indices) for name, indices in arms.items()},
        warnings=list(chosen.warnings),
    )


def _compare(measured: Measured, chosen: Selection, indices: Any) -> Arm:
    hits = hits_of(measured)[indices]
    return Arm(
        overlap=float(np.isin(indices, chosen.indices).mean()),
        reward_mean=float(measured.rewards[indices].mean()),
        pass_rate=float(hits.mean()),
        dead=int((~hits.any(axis=1)).sum()),
        learnability_mean=float(chosen.learnability[indices].mean()),
    )


def hits_of(measured: Measured) -> Any:
    """(N, G) outcomes; where none were uploaded, derived from the rewards as the gate does."""
    return measured.hits if measured.hits is not None else measured.rewards >= HIT_REWARD


def _tally(codes: Any, names: tuple[str, ...], skip: str | None = None) -> dict[str, int]:
    return {name: int((codes == code).sum()) for code, name in enumerate(names) if name != skip}
