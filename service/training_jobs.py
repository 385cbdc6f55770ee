"""Training jobs: what a request is checked for before one is started, and what it takes from its selection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fastapi.openapi.models import Example

from minirec.api_schemas import (
    TRAINING_JOB,
    Dataset,
    FieldError,
    ModelReference,
    RolloutSettings,
    SelectionCreate,
    TextReward,
    TrainingJobCreate,
)
from minirec.data.dataset import SampleTable
from minirec.service.checks import check_models_allowed, check_rewards, check_trainer, check_training_rows
from minirec.service.content import open_content
from minirec.service.lookup import dataset_or_404, job_or_404
from minirec.service.problems import ProblemError, invalid
from minirec.service.results import result_of
from minirec.service.served_kind import Descriptions, NewJob, ServedKind, deletion
from minirec.service.views import training_job_view
from minirec.settings import Settings
from minirec.specs import PrepareTraining
from minirec.store import Store

SHOWN_ERRORS = 100
MAX_BODY_BYTES = 8 << 20
"""Room for 100,000 ids of about 80 characters, the most that a request may name."""

EXAMPLES: dict[str, Example] = {
    "selection": {
        "summary": "Up to ten epochs on a selection's subset, in its order, with the selection's model",
        "value": {"selection_id": "sel_01kb3q8x2m5v7n9p4r6t"},
    },
    "ids": {
        "summary": "100 updates on samples in the order of their ids",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "ids": ["u7-3", "u1-1", "u9-4"],
            "model": {"source": "hub", "id": "Qwen/Qwen3-0.6B"},
            "args": {"updates": 100, "grpo": {"learning_rate": 0.00001}},
        },
    },
    "prompts": {
        "summary": "Up to ten epochs on a selection of prompts, with its model and its rewards",
        "value": {"selection_id": "sel_01kb3q8x2m5v7n9p4r6t", "trainer": "text_grpo"},
    },
}

DESCRIPTIONS = Descriptions(
    create="""Start training. The answer comes at once; its `request` names the model and the rollouts that were filled
in.""",
    events="""Events of a training job, oldest first: among others `metrics` of every update, and `evaluation`.

With `Accept: text/event-stream` they come live: first what has happened, then what happens, until the job is over.""",
    cancel="Stop a training job. Its checkpoint stays: a retry resumes from there.",
    retry="Resume a failed or cancelled training job, from its last checkpoint.",
    delete=deletion("a training job", "its adapter, its metrics and its events"),
)


def start(store: Store, settings: Settings, body: TrainingJobCreate) -> NewJob[TrainingJobCreate]:
    """Check a request for a training job, and fill in what it leaves to its selection. Raises ProblemError."""
    check_models_allowed((body.model,), settings)
    dataset, completed = _of_selection(store, body) if body.selection_id else _of_ids(store, body)
    check_models_allowed((completed.model,), settings)
    if completed.args.rewards is not None:
        check_rewards(completed.args.rewards, ("body", "args", "rewards"))
    content = open_content(store, dataset.content_hash)
    check_training_rows(content, _rows_to_train_on(store, completed, content), completed.evaluation)
    return NewJob(dataset, completed, needs=(body.selection_id,) if body.selection_id else ())


def _rows_to_train_on(store: Store, body: TrainingJobCreate, content: SampleTable) -> npt.NDArray[np.int64]:
    """Return the dataset's row numbers of the samples that a job trains on."""
    if body.selection_id is not None:
        result = result_of(store, body.selection_id)
        return np.asarray(result.columns["row"][result.training_order], dtype=np.int64)
    row_of = {sample_id: row for row, sample_id in enumerate(content.ids)}
    return np.array([row_of[sample_id] for sample_id in body.ids or ()], dtype=np.int64)


def _of_selection(store: Store, body: TrainingJobCreate) -> tuple[Dataset, TrainingJobCreate]:
    """The dataset, and the request with what it leaves to the selection. Raises ProblemError 404, 409, 410 or 422."""
    selection_id = body.selection_id or ""
    result_of(store, selection_id)
    selection = SelectionCreate.model_validate_json(job_or_404(store, selection_id).fields["request"])
    dataset = dataset_or_404(store, selection.dataset_id)
    check_trainer(dataset, body.trainer)
    model, rollouts = body.model or selection.model, body.args.rollouts or selection.rollouts
    if model is None:
        raise invalid("model_missing", ("body", "model"), f"is missing, and {selection_id} chose by uploaded signals")
    if model.adapter is not None:
        raise invalid(
            "model_has_adapter",
            ("body", "model"),
            f"is missing, and the model of {selection_id} has an adapter; name the model without one to start from",
        )
    if rollouts.group_size < 2:
        raise invalid(
            "group_size_too_small",
            ("body", "args", "rollouts"),
            f"is missing, and {selection_id} made one rollout per sample; GRPO needs a group_size of at least 2",
        )
    rewards = body.args.rewards or selection.rewards
    if body.trainer == "text_grpo" and rewards is None:
        raise invalid(
            "rewards_missing", ("body", "args", "rewards"), f"is missing, and {selection_id} chose by uploaded signals"
        )
    if body.trainer == "rec_grpo":
        return dataset, _completed(body, model, rollouts, None)
    # Whatever sampled for the scores, training samples with transformers.
    rollouts = rollouts.model_copy(update={"engine": "transformers"})
    return dataset, _completed(body, model, rollouts, rewards)


def _of_ids(store: Store, body: TrainingJobCreate) -> tuple[Dataset, TrainingJobCreate]:
    """The dataset, and the request with its defaults written out. Raises ProblemError 404 or 422."""
    dataset = dataset_or_404(store, body.dataset_id or "")
    check_trainer(dataset, body.trainer)
    known = set(open_content(store, dataset.content_hash).ids)
    unknown = [index for index, sample_id in enumerate(body.ids or ()) if sample_id not in known]
    if unknown:
        msg = f"is no sample of {dataset.id}"
        errors = [FieldError(loc=["body", "ids", index], msg=msg) for index in unknown[:SHOWN_ERRORS]]
        detail = f"{len(unknown)} of ids are no samples of {dataset.id}"
        raise ProblemError(422, "unknown_sample", detail, errors=errors, total_errors=len(unknown))
    return dataset, _completed(body, body.model, body.args.rollouts or RolloutSettings(), body.args.rewards)


def _completed(
    body: TrainingJobCreate, model: ModelReference | None, rollouts: RolloutSettings, rewards: list[TextReward] | None
) -> TrainingJobCreate:
    args = body.args.model_copy(update={"rollouts": rollouts, "rewards": rewards})
    return body.model_copy(update={"model": model, "args": args})


TRAINING_JOBS = ServedKind(
    kind=TRAINING_JOB,
    summary="Jobs that train a model's adapter on a subset, in its order.",
    prepare=PrepareTraining,
    start=start,
    view=training_job_view,
    examples=EXAMPLES,
    descriptions=DESCRIPTIONS,
    max_body_bytes=MAX_BODY_BYTES,
    problems=(400, 403, 404, 409, 410, 413),
)
