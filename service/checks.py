"""What requests are checked for: that they suit their kind of dataset, and name models that are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from minirec.api_schemas import (
    AdapterReference,
    Dataset,
    EngineServer,
    EvaluationSettings,
    FieldError,
    ModelReference,
    RolloutSettings,
    SelectionCreate,
    Signals,
    TextReward,
)
from minirec.api_schemas.baselines import BASELINES, Measurement
from minirec.api_schemas.selections import StratifyBy
from minirec.api_schemas.training_jobs import Trainer
from minirec.data.dataset import SampleTable
from minirec.engines import engine_allowed
from minirec.rewards import known_rewards
from minirec.service.content import open_content
from minirec.service.problems import ProblemError, invalid
from minirec.settings import Settings
from minirec.store import Store

TRAINERS: dict[str, Trainer] = {"interactions": "rec_grpo", "prompts": "text_grpo"}


def check_selection(dataset: Dataset, body: SelectionCreate, signals: Signals | None) -> None:
    """Raise ProblemError 422 where a selection asks for what its dataset, or what is known of it, does not have.

    `signals` are those that were uploaded for the dataset; they count where the request says so.
    """
    _check_baselines(dataset, body, signals)
    if body.signals is not None:
        _check_uploaded(dataset, body, signals)
        return
    check_rewards_suit(dataset, body.rewards)
    if dataset.kind == "prompts" and body.weights.vector == "teacher":
        detail = "teacher is the gradient towards a target item, which prompts do not have"
        raise invalid("vector_unavailable", ("body", "weights", "vector"), detail)
    if body.weights.towards == "validation":
        _check_validation(dataset)


def _check_validation(dataset: Dataset) -> None:
    """Raise ProblemError 422 where there are no validation samples to match."""
    loc = ("body", "weights", "towards")
    if dataset.kind == "prompts":
        detail = f"is validation, which is for interactions; {dataset.id} has prompts: leave it out"
        raise invalid("vector_unavailable", loc, detail)
    if not dataset.splits.get("valid"):
        raise invalid("empty_pool", loc, f"is validation, and {dataset.id} has no samples of the split valid")


def check_rewards_suit(dataset: Dataset, rewards: Sequence[TextReward] | None) -> None:
    """Raise ProblemError 422 unless prompts have rewards that are known here, and interactions have none."""
    if dataset.kind == "interactions" and rewards is not None:
        raise invalid(
            "rewards_unexpected",
            ("body", "rewards"),
            f"are for prompts; {dataset.id} has interactions, whose reward is where the target ranks: leave them out",
        )
    if dataset.kind == "prompts":
        if rewards is None:
            raise invalid(
                "rewards_missing",
                ("body", "rewards"),
                f"is missing: {dataset.id} has prompts, and something must say what an answer earns. There are "
                f"{', '.join(known_rewards())}",
            )
        check_rewards(rewards, ("body", "rewards"))


def _check_uploaded(dataset: Dataset, body: SelectionCreate, signals: Signals | None) -> None:
    """Raise ProblemError 422 where the uploaded signals cannot serve the request."""
    if signals is None:
        raise invalid("no_signals", ("body", "signals"), f"no signals were uploaded for {dataset.id}")
    if signals.vector_size is None and body.weights.choice == "matching":
        raise invalid(
            "nothing_to_choose_by",
            ("body", "weights", "choice"),
            "is matching, which compares gradients, and no vectors were uploaded: leave it out",
        )
    if signals.vector_size is None and body.weights.alpha == 0:
        raise invalid(
            "nothing_to_choose_by",
            ("body", "weights", "alpha"),
            "is 0, and no vectors were uploaded: every sample would have the score 0; leave it out",
        )
    if isinstance(body.size, int) and body.size > signals.n_samples:
        raise invalid(
            "size_too_large",
            ("body", "size"),
            f"is {body.size}, and rewards were uploaded for {signals.n_samples} samples of {dataset.id}",
        )


def _check_baselines(dataset: Dataset, body: SelectionCreate, signals: Signals | None) -> None:
    """Raise ProblemError 422 for baselines that need what this pool is not known by."""
    known: set[Measurement] = {"rewards"}
    if body.signals is None:
        known |= {"vectors", "embeddings"}
        known |= {"target_probabilities"} if dataset.kind == "interactions" else set()
    elif signals is not None:
        known |= {"vectors"} if signals.vector_size is not None else set()
        known |= {"embeddings"} if signals.embedding_size is not None else set()
    lacking = [name for name in body.baselines if BASELINES[name].needs not in known]
    if lacking:
        needs = BASELINES[lacking[0]].needs.replace("_", " ")
        why = f"{dataset.id} has prompts" if body.signals is None else f"no {needs} were uploaded"
        there = ", ".join(name for name, facts in BASELINES.items() if facts.needs in known)
        detail = f"{lacking[0]} needs {needs}, and {why}; possible here: {there}"
        raise invalid("baseline_unavailable", ("body", "baselines"), detail)


def check_strata(store: Store, dataset: Dataset, by: StratifyBy | None) -> None:
    """Raise ProblemError 422 where samples do not have what they are to be spread over, or all have the same."""
    if by is None:
        return
    loc = ("body", "stratify_by")
    fields = {"interactions": ("user_id", "target"), "prompts": ("source",)}[dataset.kind]
    if by not in fields:
        there = " or ".join(fields)
        raise invalid("strata_unavailable", loc, f"is {by}; {dataset.id} has {dataset.kind}, take {there}")
    content = open_content(store, dataset.content_hash)
    n_strata = len(set(content.strata(by, np.arange(content.n_samples))) - {None})
    if n_strata < 2:
        found = f"no sample has a {by}" if n_strata == 0 else f"all samples have the same {by}"
        raise invalid("strata_unavailable", loc, f"is {by}, and in {dataset.id} {found}")


def check_training_rows(content: SampleTable, rows: npt.NDArray[np.int64], evaluation: EvaluationSettings) -> None:
    """Raise ProblemError 422 where a job would train on samples of the splits that it evaluates on.

    `rows` are the dataset's row numbers of the samples to train on.
    """
    splits = content.splits[rows]
    for split, n_evaluated in (("valid", evaluation.valid_samples), ("test", evaluation.test_samples)):
        of_split = rows[splits == split]
        if n_evaluated and of_split.size:
            raise ProblemError(
                422,
                "trains_on_evaluation",
                f"{of_split.size} of {rows.size} samples to train on are of the {split} split, which the job evaluates "
                f"on; the first is {content.ids[of_split[0]]!r}. Leave them out, or set "
                f"evaluation.{split}_samples to 0",
                errors=[FieldError(loc=["body", "evaluation", f"{split}_samples"], msg="evaluates what is trained on")],
            )


def check_trainer(dataset: Dataset, trainer: Trainer) -> None:
    """Raise ProblemError 422 for a trainer that is not made for this kind of dataset."""
    if trainer != (wanted := TRAINERS[dataset.kind]):
        raise invalid(
            "wrong_trainer", ("body", "trainer"), f"is {trainer}; {dataset.id} has {dataset.kind}, take {wanted}"
        )


def check_rewards(rewards: Sequence[TextReward], loc: tuple[str, ...]) -> None:
    """Raise ProblemError 422 that names every reward which is not known here."""
    known = known_rewards()
    unknown = [index for index, reward in enumerate(rewards) if reward.name not in known]
    if unknown:
        detail = f"there is no reward {rewards[unknown[0]].name!r} here; there are {', '.join(known)}"
        errors = [FieldError(loc=[*loc, index, "name"], msg="is not known") for index in unknown]
        raise ProblemError(422, "unknown_reward", detail, errors=errors)


def check_models_allowed(references: Iterable[object], settings: Settings) -> None:
    """Refuse hub ids that the operator did not allow; the worker checks again. Raises ProblemError 403."""
    for reference in references:
        if not isinstance(reference, ModelReference | AdapterReference) or reference.source != "hub":
            continue
        if not any(fnmatchcase(reference.id, pattern) for pattern in settings.allowed_models):
            raise ProblemError(
                403,
                "model_not_allowed",
                f"{reference.id} is not among the models allowed here: {', '.join(settings.allowed_models)}",
            )


def check_engine_allowed(rollouts: RolloutSettings, loc: Sequence[str], settings: Settings) -> None:
    """Refuse an inference server that the operator did not allow; the worker checks again. Raises ProblemError 422."""
    engine = rollouts.engine
    if isinstance(engine, EngineServer) and not engine_allowed(engine.url, settings.engine_urls):
        raise invalid(
            "engine_not_allowed",
            (*loc, "engine", "url"),
            f"{engine.url} is not among the inference servers allowed here "
            f"({', '.join(settings.engine_urls) or 'none'}); the operator adds it to MINIREC_ENGINE_URLS",
        )
