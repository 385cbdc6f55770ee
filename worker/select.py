"""Last stage: from a scored pool to the subset and its training order. No model is touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minirec.api_schemas import Arm, SelectionCreate, SelectionResult
from minirec.api_schemas.selections import GATE_VERDICTS, SIGNALS, Outlook, TooLong
from minirec.policy.report import PoolReport
from minirec.selection import EmptySelectionError, Gradients, RowError, Selection, baseline, select, tie_order
from minirec.selection.gate import HIT_REWARD, OPEN
from minirec.selection.outlook import outlook, outlook_text
from minirec.specs import SelectSpec, outputs
from minirec.store.columns import Columns, as_shown
from minirec.store.machine import Outcome
from minirec.store.names import result_columns as result_columns_of
from minirec.store.results import MEASURED
from minirec.worker.check_pool import MAX_IDS
from minirec.worker.checks import subset_size
from minirec.worker.datasets import open_samples
from minirec.worker.embedding_map import view_arrays
from minirec.worker.measured import Measured, load_gradients, load_scored, load_uploaded, vector_name
from minirec.worker.planning import too_long_warning
from minirec.worker.pools import draw_pool, pool_of, read_report
from minirec.worker.select_warnings import is_untrained, request_warnings
from minirec.worker.work import UnitError, Work

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Baselines:
    """What the baselines of a request chose."""

    picks: dict[str, IndexArray]
    """(k,) pool positions of each baseline that could be computed."""
    warnings: list[str]
    """Why others could not."""


def run(work: Work, spec: SelectSpec) -> Outcome:
    """Choose, order, and store one row per pool sample."""
    store = work.store
    record = store.jobs.get(spec.job_id)
    request = SelectionCreate.model_validate_json(record.fields["request"])
    rows = pool_of(store.blobs, spec, signals=spec.signals)
    if spec.signals is not None:
        measured = load_uploaded(store, request, spec.signals, rows)
    else:
        assert spec.scoring is not None
        measured = load_scored(store, request, spec.scoring, rows)
    dataset = open_samples(store.blobs, spec.content_hash, spec.kind)
    ids = [dataset.ids[row] for row in rows]
    strata = None if request.stratify_by is None else dataset.strata(request.stratify_by, rows)

    towards = None if spec.towards is None else load_gradients(store, spec.towards)
    chosen = choose(request, measured, ids, strata, towards)
    baselines = choose_baselines(request, measured, len(chosen.indices), ids)
    left_out = len(draw_pool(dataset, spec.pool)) - len(rows)
    too_long = None if spec.left_out is None else read_report(store.blobs, spec.left_out)
    asked = request_warnings(
        request,
        spec.kind,
        whole_pool=len(draw_pool(dataset, spec.pool.model_copy(update={"max_samples": None}))),
        left_out=left_out if spec.signals is not None else 0,
        has_vectors=measured.vectors is not None,
    )
    if strata is not None and (unknown := strata.count(None)):
        asked.append(f"{unknown} samples have no {request.stratify_by}; they share one stratum")
    if len(measured.devices) > 1:
        asked.append(
            f"the pool was scored on {' and '.join(measured.devices)}: the same sample gets rewards that differ by "
            "rounding there, and in narrow dtypes by other tokens"
        )
    warnings = [*chosen.warnings, *baselines.warnings, *asked]
    result = summarise(measured, chosen, baselines.picks).model_copy(
        update={
            "warnings": warnings,
            "left_out": left_out,
            "outlook": outlook_of(request, chosen, to_validation=towards is not None),
            "validation_samples": 0 if towards is None else len(towards.vectors),
        }
    )
    if too_long is not None:
        # Whoever follows the job was warned of it when it was planned.
        about = {
            "too_long": describe_too_long(too_long, dataset.ids),
            "warnings": [too_long_warning(too_long), *warnings],
        }
        result = result.model_copy(update=about)
    if measured.embeddings is not None:
        view = view_arrays(measured.embeddings, chosen.indices)
        store.blobs.put_arrays(outputs.selection_view(spec.job_id), view)
    work.done = 1
    # Rewards and hits are stored once, with the scores, however many selections are made from them.
    shared = {} if spec.scoring is None else {MEASURED: outputs.scores_columns(spec.scoring)}
    facts = {**(record.json("provenance") or {}), **({"scored_on": measured.devices} if measured.devices else {})}
    return Outcome(
        job={"result": result.model_dump_json(), "provenance": json.dumps(facts)} | shared,
        warnings=warnings,
        writes=store.columns.shards_of(
            result_columns_of(spec.job_id),
            result_columns(measured, chosen, baselines.picks, with_measured=not shared),
        ),
    )


def outlook_of(request: SelectionCreate, chosen: Selection, *, to_validation: bool) -> Outlook | None:
    """Return what to expect of a selection; None where our study measured nothing like it.

    `to_validation` says whether the choice matched validation samples, as in all our runs.
    """
    defaults = SelectionCreate.model_fields
    measured = request.signals is None and request.rewards is None and request.profile == "minirec"
    # Our runs scored with a proxy: rewards of a model that was never trained on the task promise nothing.
    if (
        not measured
        or not to_validation
        or is_untrained(request, "interactions")
        or request.weights != defaults["weights"].get_default(call_default_factory=True)
    ):
        return None
    gated = chosen.gate != OPEN
    whole, picked = float(gated.mean()), float(gated[chosen.indices].mean())
    found = outlook(whole)
    text = outlook_text(found, random_wasted=whole, picked_wasted=picked)
    return Outlook(**asdict(found), random_wasted=whole, picked_wasted=picked, text=text)


def describe_too_long(report: PoolReport, ids: Sequence[str]) -> TooLong:
    """Return which prompts of a pool were left out; `ids` are those of all samples of the dataset."""
    return TooLong(
        samples=len(report.too_long),
        sample_ids=[ids[row] for row in report.too_long[:MAX_IDS]],
        reason=report.too_long_reason or "",
    )


def choose(
    request: SelectionCreate,
    measured: Measured,
    ids: Sequence[str] | None = None,
    strata: Sequence[str | None] | None = None,
    towards: Gradients | None = None,
) -> Selection:
    """Return the choice that the request configures (docs/method.md, sections 3 to 6).

    Args:
        request: What was asked for.
        measured: What is known of the pool.
        ids: (N,) ids of the samples.
        strata: (N,) what the choice is spread over.
        towards: Of the validation samples whose mean gradient is matched.

    Raises EmptySelectionError where the gate leaves nothing, and UnitError for measurements that the method refuses:
    they would be the same in another attempt.
    """
    weights, gate = request.weights, request.weights.gate
    try:
        return select(
            rewards=measured.rewards,
            hits=measured.hits,
            vectors=measured.vectors,
            embeddings=measured.embeddings,
            ids=ids,
            strata=None if strata is None else [f"={value}" if value is not None else "" for value in strata],
            k=subset_size(request.size, len(measured.rows)),
            profile=request.profile,
            vector=vector_name(request),
            choice=weights.choice,
            towards=towards,
            alpha=weights.alpha,
            mu=weights.mu,
            sigma=weights.sigma,
            gated=gate.enabled,
            too_easy_reward=gate.too_easy_reward,
            min_spread=gate.min_spread,
            group_size=request.curriculum.group_size,
            seed=request.curriculum.seed,
        )
    except EmptySelectionError:
        raise
    except RowError as error:
        name = f"sample {ids[error.row]!r}" if ids is not None else f"row {error.row}"
        raise UnitError("invalid_signals", f"{error.name}: {name} {error.fault}") from error
    except ValueError as error:
        raise UnitError("invalid_signals", str(error)) from error


def choose_baselines(
    request: SelectionCreate, measured: Measured, size: int, ids: Sequence[str] | None = None
) -> Baselines:
    """Return the samples that each baseline takes. One that cannot be computed is a warning: it is a comparison."""
    seed = request.curriculum.seed
    if not request.baselines:
        return Baselines({}, [])
    order = tie_order(len(measured.rows) if ids is None else ids, seed)
    found = Baselines({}, [])
    for name in request.baselines:
        try:
            found.picks[name] = baseline(
                name,
                size,
                rewards=measured.rewards,
                vectors=measured.vectors,
                embeddings=measured.embeddings,
                target_probabilities=measured.target_probability,
                seed=seed,
                tie_order=order,
            )
        except ValueError as error:
            found.warnings.append(f"the selection is not compared with the baseline {name!r}: {error}")
    return found


def result_columns(
    measured: Measured, chosen: Selection, baselines: dict[str, IndexArray], *, with_measured: bool = True
) -> Columns:
    """Return one row per pool sample: what was measured, unless it is stored already, how it was judged, its place."""
    size = len(measured.rows)
    group = np.full(size, -1, dtype=np.int32)
    group[chosen.order] = np.repeat(np.arange(len(chosen.groups), dtype=np.int32), chosen.groups)
    columns = {
        "row": measured.rows,
        "learnability": as_shown(chosen.learnability),
        "learnability_raw": as_shown(chosen.learnability_raw),
        "score": as_shown(chosen.scores),
        "gate": chosen.gate,
        "signal": measured.signal,
        "picked_rank": _places(chosen.indices, size),
        "training_position": _places(chosen.order, size),
        "group": group,
    }
    columns |= {f"arm:{name}": _places(indices, size) for name, indices in baselines.items()}
    if chosen.representativeness is not None:
        columns["representativeness"] = as_shown(chosen.representativeness)
    if with_measured:
        columns |= {"rewards": as_shown(measured.rewards), "hit": hits_of(measured).astype(np.uint8)}
    return columns


def _places(indices: Any, size: int) -> Any:
    """Return (size,) each sample's place among `indices`; -1 for those that are not among them."""
    places = np.full(size, -1, dtype=np.int32)
    places[indices] = np.arange(len(indices), dtype=np.int32)
    return places


def summarise(measured: Measured, chosen: Selection, baselines: dict[str, IndexArray]) -> SelectionResult:
    """Return the selection in a few numbers."""
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
        choice=chosen.choice,
        groups=len(chosen.groups),
        baselines={name: _compare(measured, chosen, indices) for name, indices in baselines.items()},
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
    """Return (N, G) outcomes; where none were uploaded, derived from the rewards as the gate does."""
    return measured.hits if measured.hits is not None else measured.rewards >= HIT_REWARD


def _tally(codes: Any, names: tuple[str, ...], skip: str | None = None) -> dict[str, int]:
    return {name: int((codes == code).sum()) for code, name in enumerate(names) if name != skip}
