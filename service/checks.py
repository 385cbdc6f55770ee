"""What requests are checked for: that they suit their kind of dataset, and name models that are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from api_schemas import AdapterReference, Dataset, FieldError, ModelReference, SelectionCreate, TextReward
from api_schemas.training_jobs import Trainer
from minirec.rewards import known_rewards
from minirec.settings import Settings
from service.problems import ProblemError, invalid

TRAINERS: dict[str, Trainer] = {"interactions": "rec_grpo", "prompts": "text_grpo"}


def check_selection(dataset: Dataset, body: SelectionCreate) -> None:
    """Raise ProblemError 422 where a selection asks for what its kind of dataset does not have."""
    if body.signals is not None:
        return
    check_rewards_suit(dataset, body.rewards)
    if dataset.kind == "prompts":
        if "el2n" in body.baselines:
            raise invalid(
                "baseline_unavailable", ("body", "baselines"), "el2n needs targets, which prompts do not have"
            )
        if body.weights.vector == "teacher":
            detail = "teacher is the gradient towards a target item, which prompts do not have"
            raise invalid("vector_unavailable", ("body", "weights", "vector"), detail)


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
