"""Route of one sample of a finished selection: what it is, what the model answered, and why it was picked or not."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path

from minirec.api_schemas import NearestPick, Rollout, SampleExplanation, SampleScore, Selection, TitledItem
from minirec.api_schemas.explanations import Reason
from minirec.api_schemas.selections import GATE_VERDICTS
from minirec.data.dataset import Dataset
from minirec.service.content import open_content
from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.lookup import job_or_404
from minirec.service.problems import ProblemError, problems
from minirec.service.results import Result, result_of
from minirec.service.scores import sample_score
from minirec.service.selections import selection_or_404
from minirec.service.stored_views import Beside
from minirec.store import Store

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))

OPEN = GATE_VERDICTS.index("open")
BLOCK = 8192


@router.get("/{selection_id}/scores/{sample_id:path}")
def get_score(
    store: StoreOf,
    selection_id: SelectionId,
    sample_id: Annotated[
        str, Path(min_length=1, max_length=256, description="Id of a sample of the pool", examples=["u7-3"])
    ],
) -> SampleExplanation:
    """Return one sample with titles, every rollout with its text, and why it was picked or not."""
    return explain(store, selection_id, sample_id)


def explain(store: Store, selection_id: str, sample_id: str) -> SampleExplanation:
    """Return what is known of a sample of a finished selection. Raises ProblemError 404, 409 or 410."""
    result = result_of(store, selection_id)
    try:
        position = result.position_of(sample_id)
    except KeyError as error:
        detail = f"{sample_id!r} is no sample of {selection_id}'s pool"
        raise ProblemError(404, "sample_not_found", detail) from error
    selection, beside = selection_or_404(store, selection_id), Beside(store, job_or_404(store, selection_id))
    score = sample_score(result, position)
    texts = beside.texts(position)
    nearest = _nearest_pick(result, beside, position)
    reason = _reason(result, position)
    lowest = _lowest_picked(result)
    return SampleExplanation(
        selection_id=selection_id,
        score=score,
        **_content(store, result, position),
        rollouts=[
            Rollout(
                reward=reward,
                hit=hit,
                text=texts[n].text if n < len(texts) else None,
                cut=n < len(texts) and texts[n].cut,
            )
            for n, (reward, hit) in enumerate(zip(score.rewards, score.hit, strict=True))
        ],
        texts_kept=len(texts),
        score_rank=int((result.columns["score"] > result.columns["score"][position]).sum()),
        lowest_picked_score=lowest,
        nearest_pick=nearest,
        reason=reason,
        why=_why(reason, score, selection, nearest, lowest),
    )


def _content(store: Store, result: Result, position: int) -> dict[str, Any]:
    dataset = open_content(store, result.content_hash)
    row = int(result.columns["row"][position])
    if not isinstance(dataset, Dataset):
        return {"sample": dataset.sample_json(row)}
    (sample,), titles = dataset.shown([row])

    def titled(item: str) -> TitledItem:
        return TitledItem(item_id=item, title=titles[item])

    return {"sample": sample, "history": list(map(titled, sample["history"])), "target": titled(sample["target"])}


def _nearest_pick(result: Result, beside: Beside, position: int) -> NearestPick | None:
    """Return the nearest picked sample other than the one at this position; None without embeddings."""
    view = beside.view()
    if view is None:
        return None
    own = beside.embedding(position, int(result.columns["row"][position]))
    length = 0.0 if own is None else float(np.linalg.norm(own))
    if own is None or length == 0:
        return None
    distances = _distances(view["picked"], own / length)
    own_rank = int(result.columns["picked_rank"][position])
    if own_rank >= 0:
        distances[own_rank] = np.inf
    nearest = int(distances.argmin())
    if not np.isfinite(distances[nearest]):
        return None  # It is the only pick.
    picked = int(np.flatnonzero(result.columns["picked_rank"] == nearest)[0])
    return NearestPick(id=result.sample_id(picked), distance=max(0.0, float(distances[nearest])), picked_rank=nearest)


def _distances(picked: npt.NDArray[np.float16], unit: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return 1 - cosine (k,) of unit rows (k, d) to a unit vector (d,), some rows at a time."""
    single = unit.astype(np.float32)
    parts = [picked[start : start + BLOCK].astype(np.float32) @ single for start in range(0, len(picked), BLOCK)]
    distances: npt.NDArray[np.float32] = 1 - np.concatenate(parts)
    return distances


def _lowest_picked(result: Result) -> float | None:
    """Return the lowest score among the picks that the gate let through."""
    columns = result.columns
    scores = columns["score"][(columns["picked_rank"] >= 0) & (columns["gate"] == OPEN)]
    return float(scores.min()) if scores.size else None


def _reason(result: Result, position: int) -> Reason:
    columns = result.columns
    is_open = columns["gate"][position] == OPEN
    if columns["picked_rank"][position] >= 0:
        return "picked" if is_open else "backfilled"
    if not is_open:
        return "gated"
    lowest = _lowest_picked(result)
    if "representativeness" not in columns or lowest is None or float(columns["score"][position]) < lowest:
        return "outscored"
    return "too_similar"


VERDICTS = {
    "too_hard": "too hard: none of its rollouts reached the goal",
    "too_easy": "too easy: every rollout earned more than {bound:.3g}",
    "no_spread": "without spread: its rollouts all reached the goal and earned the same",
}


def _why(
    reason: Reason, score: SampleScore, selection: Selection, nearest: NearestPick | None, lowest: float | None
) -> str:
    """Return the reason in a sentence."""
    gate = ""
    if score.gate != "open":
        gate = VERDICTS[score.gate].format(bound=selection.request.weights.gate.too_easy_reward)
    near = "" if nearest is None else f"the pick {nearest.id!r} is at a distance of {nearest.distance:.3f}"
    if reason == "picked":
        place = (score.picked_rank or 0) + 1
        apart = f"; of all other picks, {near}, the nearest" if near else ""
        return f"Picked as number {place}, with a score of {score.score:.3f}{apart}."
    if reason == "backfilled":
        return f"The gate found it {gate}. It was picked all the same, because the open samples ran out."
    if reason == "gated":
        return f"The gate left it out as {gate}."
    if reason == "outscored":
        bound = "" if lowest is None else f" of at least {lowest:.3f}"
        return f"Not picked: its score is {score.score:.3f}, and the picks have scores{bound}."
    share = ""
    if selection.request.stratify_by is not None:
        share = f" Or its {selection.request.stratify_by} had its share of the size."
    if selection.result is not None and selection.result.choice == "matching":
        also = f" ({near})" if near else ""
        agrees = f"Its gradient agrees with what is matched ({score.score:.3f})"
        return f"{agrees}, and the picks pull that way already{also}.{share}"
    what = f": {near}, and what counts is score times distance" if near else ": what counts is score times distance"
    return f"Its score of {score.score:.3f} would have done, but it is too much like what was picked{what}.{share}"
