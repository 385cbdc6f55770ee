"""The calls behind `client.selections`, and how their answers are understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from minirec.api_schemas import (
    AdapterReference,
    CurriculumSettings,
    KeptTexts,
    ModelReference,
    PoolSettings,
    ProxySettings,
    RolloutSettings,
    TextReward,
    TrainingArgs,
    WeightSettings,
)
from minirec.client.core import Call

Model = ModelReference | Mapping[str, Any] | str
Pool = PoolSettings | Mapping[str, Any]
Rollouts = RolloutSettings | Mapping[str, Any]
Weights = WeightSettings | Mapping[str, Any]
Curriculum = CurriculumSettings | Mapping[str, Any]
Texts = KeptTexts | Mapping[str, Any]
Proxy = ProxySettings | AdapterReference | Mapping[str, Any]
TextRewards = Sequence[TextReward | Mapping[str, Any] | str]
Order = Literal["pool", "rank", "score", "reward", "spread", "learnability", "representativeness"]
SubsetFormat = Literal["ids", "jsonl", "parquet"]

SCORES_PAGE = 1000


def create(
    *, dataset: str, model: Model | None, size: int | float, metadata: Mapping[str, str] | None, **settings: object
) -> Call:
    """Build `POST /v1/selections`; the service checks the settings, unset ones keep its defaults."""
    body = {"dataset_id": dataset, "size": size}
    return Call("POST", "/v1/selections", json=body | given(model=model, metadata=metadata, **settings))


def given(*, model: Model | None, metadata: Mapping[str, str] | None, **settings: object) -> dict[str, object]:
    """Return the fields of a request that are not null, as JSON; a model given as text is a hub id."""
    reference = {"source": "hub", "id": model} if isinstance(model, str) else model
    settings |= {"model": reference, "metadata": dict(metadata) if metadata else None}
    return {name: plain(value) for name, value in settings.items() if value is not None}


def named(rewards: TextRewards | None) -> list[object] | None:
    """Return rewards as JSON; one given as text is a name. Raise TypeError for a text in place of the list."""
    if rewards is None:
        return None
    if isinstance(rewards, str):
        raise TypeError(f"rewards is a list, as in rewards=[{rewards!r}]")
    return [{"name": reward} if isinstance(reward, str) else plain(reward) for reward in rewards]


def plain(value: object) -> object:
    """Return settings as JSON, without what their author left unset."""
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def training_args(args: TrainingArgs | Mapping[str, Any]) -> object:
    """Return a trainer's arguments as JSON."""
    if isinstance(args, TrainingArgs) or args.get("rewards") is None:
        return plain(args)
    return {**args, "rewards": named(args["rewards"])}


def scores(selection_id: str, **params: object) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/scores", params=params)


def explain(selection_id: str, sample_id: str) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/scores", name=sample_id)


def plots(selection_id: str) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/plots")


def report(selection_id: str) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/report", headers={"Accept": "*/*"})


def subset(selection_id: str, format: SubsetFormat) -> Call:
    return Call("GET", f"/v1/selections/{selection_id}/subset", params={"format": format}, headers={"Accept": "*/*"})
