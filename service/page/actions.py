"""What the page of a finished selection starts: the same scores chosen from again, and training."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import ValidationError
from starlette.responses import Response

from minirec.api_schemas import Selection, SelectionCreate, TrainingJobCreate
from minirec.service import jobs
from minirec.service.dependencies import SelectionId, SettingsOf, StoreOf
from minirec.service.lookup import dataset_or_404
from minirec.service.page.new import faults_of, size_of, start_job
from minirec.service.page.templating import PageRoute, see
from minirec.service.problems import ProblemError
from minirec.service.selections import selection_or_404
from minirec.service.training_jobs import TRAINING_JOBS

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/jobs/{selection_id}/again")
def again(
    store: StoreOf,
    settings: SettingsOf,
    selection_id: SelectionId,
    size: Annotated[str, Form(max_length=20)],
    alpha: Annotated[float | None, Form()] = None,
    mu: Annotated[float | None, Form()] = None,
    too_easy_reward: Annotated[float | None, Form()] = None,
    gate: Annotated[bool, Form()] = False,
) -> Response:
    """Choose from the same scores with other settings."""
    selection = selection_or_404(store, selection_id)
    return see(f"/jobs/{start_job(store, settings, changed(selection, size, alpha, mu, too_easy_reward, gate))}")


def changed(
    selection: Selection,
    size: str,
    alpha: float | None,
    mu: float | None,
    too_easy_reward: float | None,
    gate: bool,
) -> SelectionCreate:
    """Return a selection's request with other settings, those that are None as they were. Raises ProblemError 422.

    Args:
        selection: Whose request.
        size: As the form has it.
        alpha: Weight of L beside R.
        mu: Mean reward at which a sample is most learnable.
        too_easy_reward: Bound of the gate.
        gate: Whether it is on.
    """
    body = selection.request.model_dump()
    given = {"alpha": alpha, "mu": mu}
    body["weights"] |= {name: value for name, value in given.items() if value is not None}
    bound = {} if too_easy_reward is None else {"too_easy_reward": too_easy_reward}
    body["weights"]["gate"] |= {"enabled": gate} | bound
    try:
        return SelectionCreate.model_validate(body | {"size": size_of(size)})
    except ValidationError as error:
        raise ProblemError(422, "invalid_request", "; ".join(faults_of(error, body))) from error
    except ValueError as error:
        raise ProblemError(422, "invalid_request", str(error)) from error


@router.post("/jobs/{selection_id}/train")
def train(
    store: StoreOf,
    settings: SettingsOf,
    selection_id: SelectionId,
    updates: Annotated[int, Form(ge=1, le=10**6)],
) -> Response:
    """Train on a selection's subset, in its order."""
    selection = selection_or_404(store, selection_id)
    kind = dataset_or_404(store, selection.dataset_id).kind
    body = TrainingJobCreate.model_validate(
        {
            "selection_id": selection_id,
            "trainer": "text_grpo" if kind == "prompts" else "rec_grpo",
            "args": {"updates": updates},
        }
    )
    answer = jobs.create(TRAINING_JOBS, store, settings, body)
    return see(f"/jobs/{json.loads(bytes(answer.body))['id']}")
