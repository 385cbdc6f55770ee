"""Evaluations: what a request is checked for before one is started."""

from __future__ import annotations

from fastapi.openapi.models import Example

from minirec.api_schemas import EVALUATION, Dataset, Evaluation, EvaluationCreate
from minirec.data.pool import counted
from minirec.service.checks import check_models_allowed, check_rewards_suit
from minirec.service.lookup import dataset_or_404
from minirec.service.problems import invalid
from minirec.service.served_kind import Descriptions, NewJob, ServedKind, deletion
from minirec.service.views import common_fields
from minirec.settings import Settings
from minirec.specs import PrepareEvaluation
from minirec.store import Store
from minirec.store.jobs import JobRecord

EXAMPLES: dict[str, Example] = {
    "hub": {
        "summary": "HR@k and NDCG@k of a model of the Hugging Face hub on the test split",
        "value": {"dataset_id": "ds_01kb3q8x2m5v7n9p4r6t", "model": {"source": "hub", "id": "Qwen/Qwen3-0.6B"}},
    },
    "adapter": {
        "summary": "The same of a trained adapter, on 500 samples of the validation split",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "model": {"source": "local", "id": "policy", "adapter": {"source": "local", "id": "policy-lora"}},
            "split": "valid",
            "max_samples": 500,
        },
    },
    "prompts": {
        "summary": "What a model's answers to the prompts of the test split earn",
        "value": {
            "dataset_id": "ds_01kb3q8x2m5v7n9p4r6t",
            "model": {"source": "hub", "id": "Qwen/Qwen3-0.6B"},
            "rewards": [{"name": "exact_answer"}],
        },
    },
}

DESCRIPTIONS = Descriptions(
    create="""Evaluate a model on a dataset's held-out samples, one greedy rollout each.

Interactions are ranked over the full catalogue (HR@k and NDCG@k; only the history of a sample is left out). Prompts are
answered, and the result says what the answers earn.""",
    events="""Events of an evaluation, oldest first: among others `evaluation` with the result.

With `Accept: text/event-stream` they come live: first what has happened, then what happens, until the job is over.""",
    cancel="Stop an evaluation. A retry starts measuring anew.",
    retry="Run a failed or cancelled evaluation again.",
    delete=deletion("an evaluation", "its result and its events"),
)


def start(store: Store, settings: Settings, body: EvaluationCreate) -> NewJob[EvaluationCreate]:
    """Check a request for an evaluation. Raises ProblemError."""
    dataset = dataset_or_404(store, body.dataset_id)
    check_rewards_suit(dataset, body.rewards)
    check_split(dataset, body)
    check_models_allowed((body.model, body.model.adapter), settings)
    return NewJob(dataset, body)


def check_split(dataset: Dataset, body: EvaluationCreate) -> None:
    """Raise ProblemError 422 where there is nothing to evaluate on."""
    if body.split != "all" and not dataset.splits.get(body.split):
        raise invalid(
            "empty_split",
            ("body", "split"),
            f"{dataset.id} has no samples in {body.split!r} ({counted(dataset.splits)}); name another split, or all",
        )


def evaluation_view(record: JobRecord) -> Evaluation:
    """Return an evaluation's state, from its record."""
    request = EvaluationCreate.model_validate_json(record.fields["request"])
    return Evaluation(
        samples_done=_samples_done(record),
        samples_total=record.json("samples_total"),
        request=request,
        **common_fields(record, request.metadata),
    )


def _samples_done(record: JobRecord) -> int:
    if record.status == "succeeded":
        return int(record.json("result")["samples"])
    if record.stage == "evaluating" and record.group is not None:
        return record.group.progress
    return record.json("samples_total") or 0 if record.stage == "finishing" else 0


EVALUATIONS = ServedKind(
    kind=EVALUATION,
    summary="Jobs that measure a model on held-out samples.",
    prepare=PrepareEvaluation,
    start=start,
    view=evaluation_view,
    examples=EXAMPLES,
    descriptions=DESCRIPTIONS,
)
