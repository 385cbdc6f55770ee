"""Names of work follow from its spec: what changes a result changes the name, and nothing else does."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from minirec import __version__
from minirec.api_schemas import (
    EarlyStopping,
    EngineServer,
    GrpoSettings,
    KeptTexts,
    ProxySettings,
    RolloutSettings,
    TextReward,
)
from minirec.api_schemas.common import Operational
from minirec.api_schemas.selections import PoolSettings
from minirec.api_schemas.training import ProxyGrpoSettings
from minirec.specs import (
    CatalogueSpec,
    CheckSpec,
    EvaluateSpec,
    FinishTraining,
    PinnedModel,
    PlanSelection,
    PrepareSelection,
    PrepareTraining,
    ProxySpec,
    ScoreSpec,
    SelectSpec,
    SpecRefused,
    TrainSpec,
    UnitSpec,
    identity,
)
from minirec.specs.base import PinnedAdapter

MODEL = PinnedModel(source="hub", id="Qwen/Qwen3-0.6B", revision="c0ffee", dtype="bfloat16", device="cuda")
POOL: dict[str, Any] = {"content_hash": "d4", "rows": "e5", "pool": PoolSettings(split="train")}
PROXY = ProxySpec(**POOL, model=MODEL, rollouts=RolloutSettings(), settings=ProxySettings())
CHECK = CheckSpec(**POOL, model=MODEL, window=5, max_new_tokens=256)
CATALOGUE = CatalogueSpec(content_hash="d4", model=MODEL, shard_size=256)
SCORE = ScoreSpec(**POOL, model=MODEL, rollouts=RolloutSettings(), catalogue="ca7", shard_size=64, micro_batch=16)
TRAIN = TrainSpec(
    content_hash="d4",
    model=MODEL,
    rollouts=RolloutSettings(),
    train="f6",
    valid="a7",
    updates=20,
    grpo=GrpoSettings(),
    every=16,
    early_stopping=EarlyStopping(),
)
EVALUATE = EvaluateSpec(content_hash="d4", model=MODEL, rollouts=RolloutSettings(), rows="b8")
SHARED = (CHECK, PROXY, CATALOGUE, SCORE, TRAIN, EVALUATE)
OF_A_JOB = (
    PrepareSelection(job_id="sel_1"),
    PlanSelection(job_id="sel_1", check="c0"),
    SelectSpec(**POOL, job_id="sel_1", scoring="c9"),
    PrepareTraining(job_id="trn_1"),
    FinishTraining(job_id="trn_1", training="d0"),
)

OTHER: dict[str, Any] = {
    "content_hash": "other",
    "kind": "prompts",
    "rows": "other",
    "pool": PoolSettings(seed=1),
    "left_out": "other",
    "window": 6,
    "max_new_tokens": 255,
    "proxy": "other",
    "rollouts": RolloutSettings(temperature=0.5),
    "profile": "paper",
    "catalogue": "other",
    "rewards": (TextReward(name="exact_answer"),),
    "texts": KeptTexts(rollouts=2),
    "shard_size": 8,
    "micro_batch": 8,
    "settings": ProxySettings(updates=3),
    "train": "other",
    "valid": "other",
    "updates": 21,
    "grpo": GrpoSettings(lora_rank=8),
    "every": 17,
    "early_stopping": None,
    "training": "other",
    "split": "valid",
}
"""Another value for each field."""

MODELS = {
    "source": (MODEL.model_copy(update={"source": "local"}), False),
    "id": (MODEL.model_copy(update={"id": "elsewhere"}), False),
    "revision": (MODEL.model_copy(update={"revision": "decaf"}), True),
    "dtype": (MODEL.model_copy(update={"dtype": "float32"}), True),
    "device": (MODEL.model_copy(update={"device": None}), True),
    "adapter": (MODEL.model_copy(update={"adapter": PinnedAdapter(source="hub", id="a", revision="1")}), True),
}
"""Other models, and whether their results may differ."""


def changed(spec: UnitSpec, **changes: Any) -> UnitSpec:
    """The spec with other values, validated as a new one is."""
    return type(spec).model_validate({name: getattr(spec, name) for name in type(spec).model_fields} | changes)


@pytest.mark.parametrize("spec", SHARED, ids=lambda spec: spec.HANDLER)
def test_every_field_is_in_the_name_unless_it_is_operational(spec: UnitSpec) -> None:
    for field, info in type(spec).model_fields.items():
        if field != "model":
            operational = any(isinstance(mark, Operational) for mark in info.metadata)
            assert (changed(spec, **{field: OTHER[field]}).name == spec.name) == operational, field
    for part, (model, matters) in MODELS.items():
        assert (changed(spec, model=model).name != spec.name) == matters, part


class Rollouts2(RolloutSettings):
    """The settings of a release that adds one."""

    min_p: float = 0.0
    trace: Annotated[bool, Operational()] = False


class Score2(ScoreSpec):
    """The spec of that release."""

    rollouts: Rollouts2
    quantization: str | None = None


def test_a_field_that_is_added_renames_nothing_until_it_is_used() -> None:
    of_that_release = {name: getattr(SCORE, name) for name in ScoreSpec.model_fields} | {"rollouts": Rollouts2()}
    added = Score2.model_validate(of_that_release)
    assert added.name == SCORE.name
    assert changed(added, quantization="4bit").name != SCORE.name
    assert changed(added, rollouts=Rollouts2(min_p=0.1)).name != SCORE.name
    assert changed(added, rollouts=Rollouts2(trace=True)).name == SCORE.name


def test_a_nested_model_that_differs_in_operational_fields_alone_is_at_its_default() -> None:
    frugal = ProxySettings(grpo=ProxyGrpoSettings(micro_batch_tokens=100))
    assert changed(PROXY, settings=frugal).name == PROXY.name
    assert identity(frugal) == {}
    assert identity(frugal, defaults=True)["grpo"]["learning_rate"] == 1e-4


class _Square(BaseModel):
    side: int = 1


class _Circle(BaseModel):
    side: int = 1


class _Shape(BaseModel):
    shape: _Square | _Circle = _Square()


def test_a_value_of_another_type_is_no_default_although_it_looks_the_same() -> None:
    assert identity(_Shape(shape=_Circle())) != identity(_Shape())


def test_what_has_no_json_form_cannot_be_part_of_a_name() -> None:
    class Odd(BaseModel):
        values: set[int] = set()

    with pytest.raises(TypeError, match="set has no JSON form"):
        identity(Odd(values={1}))


def test_the_engine_that_samples_for_scores_is_nothing_to_those_who_train() -> None:
    vllm = RolloutSettings(engine="vllm")
    for spec in (PROXY, TRAIN, EVALUATE):
        assert changed(spec, rollouts=vllm) == spec
    assert changed(SCORE, rollouts=vllm).name != SCORE.name
    servers = [RolloutSettings(engine=EngineServer(url=f"http://{host}")) for host in ("a", "b")]
    named = RolloutSettings(engine=EngineServer(url="http://a", model="m"))
    assert len({changed(SCORE, rollouts=one).name for one in (vllm, named, *servers)}) == 4
    assert changed(PROXY, rollouts=named) == PROXY


def test_names_are_the_same_in_every_release() -> None:
    """Cached results and running jobs are found by these. Who changes one must mean to drop what is named by it."""
    assert {spec.HANDLER: spec.name for spec in SHARED} == {
        "check": "711b782b68c06fb3985815af",
        "proxy": "803f92c81465cb6aca6e1bc5",
        "catalogue": "6a37e59ac7ef6e2ac78852f8",
        "score": "fd3f280113b9b3dce15b94b4",
        "train": "daa2db105d6fa660350081c9",
        "evaluate": "fd97f78b966352077a97cb70",
    }


DEFAULTS: dict[str, Any] = {
    "RolloutSettings": {
        "group_size": 4,
        "temperature": 1.5,
        "top_k": 200,
        "top_p": 1.0,
        "max_new_tokens": 256,
        "window": 5,
        "ndcg_k": None,
        "softmax_weight": 0.05,
        "tau": 0.02,
        "seed": 0,
        "engine": "transformers",
    },
    "GrpoSettings": {
        "learning_rate": 1e-05,
        "learning_rate_schedule": "constant",
        "batch_size": 8,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "max_grad_norm": 1.0,
        "token_loss_weight": 1.0,
        "item_loss_weight": 1.0,
        "item_negatives": 16,
        "lora_rank": 4,
        "lora_alpha": 128,
        "lora_dropout": 0.0,
        "catalogue_refresh": 10,
        "seed": 0,
    },
    "ProxyGrpoSettings": {
        "learning_rate": 0.0001,
        "learning_rate_schedule": "constant",
        "batch_size": 8,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "max_grad_norm": 1.0,
        "token_loss_weight": 1.0,
        "item_loss_weight": 1.0,
        "item_negatives": 16,
        "lora_rank": 4,
        "lora_alpha": 128,
        "lora_dropout": 0.0,
        "catalogue_refresh": 10,
        "seed": 0,
    },
    "ProxySettings": {"samples": 256, "updates": 30, "grpo": {}},
    "EarlyStopping": {"patience": 5, "min_delta": 0.0001},
    "TextReward": {"weight": 1.0},
    "CheckSpec": {"kind": "interactions"},
    "ProxySpec": {"kind": "interactions"},
    "CatalogueSpec": {"proxy": None},
    "KeptTexts": {"rollouts": 4, "characters": 1000},
    "ScoreSpec": {
        "kind": "interactions",
        "proxy": None,
        "profile": "minirec",
        "catalogue": None,
        "rewards": None,
        "texts": None,
    },
    "TrainSpec": {"rewards": None},
    "EvaluateSpec": {"rewards": None, "training": None},
    "PinnedModel": {"adapter": None, "device": None},
}


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    """Every default that names leave out."""
    return {
        name: identity(field.default) if isinstance(field.default, BaseModel) else field.default
        for name, field in model.model_fields.items()
        if not field.is_required() and not any(isinstance(mark, Operational) for mark in field.metadata)
    }


def test_a_default_that_names_leave_out_does_not_change_unnoticed() -> None:
    """Equal names must mean equal results: raise VERSION of the specs with a default that changes, then pin it.

    A new field is only pinned.
    """
    models = (RolloutSettings, GrpoSettings, ProxyGrpoSettings, ProxySettings, EarlyStopping, TextReward, KeptTexts)
    specs = (type(spec) for spec in SHARED)
    found = {model.__name__: defaults_of(model) for model in (*models, *specs, PinnedModel)}
    assert found == DEFAULTS


@pytest.mark.parametrize("spec", [*SHARED, *OF_A_JOB], ids=lambda spec: spec.HANDLER)
def test_a_stored_spec_is_read_as_it_was(spec: UnitSpec) -> None:
    stored = json.loads(spec.to_json())
    assert type(spec).read(stored) == spec
    assert stored["release"] == __version__


def test_groups_of_a_job_are_its_own() -> None:
    assert [spec.group for spec in OF_A_JOB] == [
        "prepare:sel_1",
        "plan:sel_1",
        "select:sel_1",
        "prepare:trn_1",
        "finish:trn_1",
    ]
    on_gpu_queue = PrepareSelection(job_id="sel_1", on_gpu_queue=True)
    assert (on_gpu_queue.group, on_gpu_queue.stage("preparing").queue) == ("prepare-gpu:sel_1", "gpu")


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"version": "99", "release": "7.8.9", "spec": {}}, "written by MiniRec 7.8.9 and has version 99"),
        ({"selection_id": "sel_1"}, "written by a release of MiniRec that did not name itself yet"),
        ({"version": SCORE.VERSION, "release": "7.8.9"}, "written by MiniRec 7.8.9, cannot be read here"),
        (
            json.loads(SCORE.to_json()) | {"release": "7.8.9", "spec": {**SCORE.model_dump(), "quantization": "4bit"}},
            "written by MiniRec 7.8.9, cannot be read here: quantization: Extra inputs",
        ),
    ],
)
def test_a_spec_of_another_release_is_refused_by_the_name_of_that_release(stored: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecRefused, match=says) as refused:
        ScoreSpec.read(stored)
    assert "start the job anew" in str(refused.value)
