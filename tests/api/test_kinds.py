"""What fits which kind of dataset is said when it is asked for, not when a worker meets it."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from minirec.api_schemas.baselines import BASELINES
from tests.api.conftest import Service, training_body

MODEL = {"source": "local", "id": "tiny"}
WORDS = [{"name": "token_f1"}]


@pytest.fixture
def prompts(service: Service) -> str:
    return str(service.upload_prompts()["id"])


@pytest.fixture
def interactions(service: Service) -> str:
    return str(service.upload()["id"])


def fault(service: Service, path: str, body: dict[str, Any]) -> tuple[str, str]:
    response = service.http.post(path, json=body)
    assert response.status_code == 422, response.text
    return response.json()["code"], response.json()["detail"]


def select(service: Service, dataset: str, **changes: Any) -> tuple[str, str]:
    return fault(service, "/v1/selections", {"dataset_id": dataset, "model": MODEL, "size": 2} | changes)


def test_a_selection_of_prompts_needs_rewards_that_are_known(service: Service, prompts: str) -> None:
    code, detail = select(service, prompts)
    assert code == "rewards_missing"
    assert "exact_title, token_f1" in detail
    code, detail = select(service, prompts, rewards=[*WORDS, {"name": "nonsense"}])
    assert code == "unknown_reward"
    assert "'nonsense'" in detail


def test_interactions_have_no_rewards_by_name(service: Service, interactions: str) -> None:
    assert select(service, interactions, rewards=WORDS)[0] == "rewards_unexpected"


@pytest.mark.parametrize(
    "changes",
    [{"proxy": {}}, {"profile": "paper"}, {"rollouts": {"engine": "vllm", "temperature": 1.0}}],
    ids=["proxy", "paper", "vllm"],
)
def test_what_only_interactions_have_is_refused(service: Service, prompts: str, changes: dict[str, Any]) -> None:
    assert select(service, prompts, rewards=WORDS, **changes)[0] == "invalid_request"


def test_an_engine_that_is_not_allowed_is_refused(service: Service, interactions: str) -> None:
    code, detail = select(service, interactions, rollouts={"engine": {"url": "http://169.254.169.254/"}})
    assert code == "engine_not_allowed"
    assert detail.startswith("body.rollouts.engine.url:")
    assert "MINIREC_ENGINE_URLS" in detail


def test_a_baseline_that_needs_a_catalogue_is_refused(service: Service, prompts: str) -> None:
    assert select(service, prompts, rewards=WORDS, baselines=["el2n"])[0] == "baseline_unavailable"
    assert select(service, prompts, rewards=WORDS, weights={"vector": "teacher"})[0] == "vector_unavailable"


def upload_signals(service: Service, dataset: str, samples: int, **sizes: int) -> None:
    """Upload rewards of the first samples, with vectors and embeddings of these sizes."""
    rows = "".join(json.dumps({"sample_id": f"s{n:03d}", "reward": [0.0, n / 100]}) + "\n" for n in range(samples))
    files: dict[str, tuple[str, Any]] = {"rewards": ("r.jsonl", rows)}
    for part, size in sizes.items():
        file = io.BytesIO()
        np.save(file, np.random.default_rng(0).standard_normal((samples, size)).astype(np.float32))
        files[part] = (f"{part}.npy", file.getvalue())
    response = service.http.post(f"/v1/datasets/{dataset}/signals", files=files)
    assert response.status_code == 201, response.text


def by_signals(service: Service, dataset: str, **changes: Any) -> tuple[int, str]:
    body = {"dataset_id": dataset, "signals": "uploaded", "size": 6} | changes
    response = service.http.post("/v1/selections", json=body)
    return response.status_code, response.json().get("detail", "")


@pytest.mark.parametrize(
    ("sizes", "possible"),
    [
        ({}, {"random", "top_learnability"}),
        ({"vectors": 4}, {"random", "top_learnability", "grand"}),
        ({"embeddings": 4}, {"random", "top_learnability", "kmeans"}),
        ({"vectors": 4, "embeddings": 3}, {"random", "top_learnability", "grand", "kmeans"}),
    ],
)
def test_baselines_that_need_what_was_not_uploaded_are_refused(
    service: Service, interactions: str, sizes: dict[str, int], possible: set[str]
) -> None:
    upload_signals(service, interactions, 20, **sizes)
    for name, facts in BASELINES.items():
        status, detail = by_signals(service, interactions, baselines=[name])
        assert (status == 202) == (name in possible), detail
        if status == 422:
            assert f"{name} needs {facts.needs.replace('_', ' ')}" in detail
            assert "were uploaded; possible here: random" in detail


def test_all_baselines_may_be_asked_for_at_once(service: Service, interactions: str) -> None:
    body = {"dataset_id": interactions, "model": MODEL, "size": 2, "baselines": list(BASELINES)}
    assert service.http.post("/v1/selections", json=body).status_code == 202


def test_a_size_beyond_the_uploaded_rewards_is_refused(service: Service, interactions: str) -> None:
    upload_signals(service, interactions, 20)
    assert by_signals(service, interactions, size=20)[0] == 202
    status, detail = by_signals(service, interactions, size=21)
    assert (status, "rewards were uploaded for 20 samples" in detail) == (422, True)


def test_a_score_of_nothing_is_refused(service: Service, interactions: str) -> None:
    upload_signals(service, interactions, 20)
    status, detail = by_signals(service, interactions, weights={"alpha": 0})
    assert (status, "no vectors were uploaded" in detail) == (422, True)
    upload_signals(service, interactions, 20, vectors=4)
    assert by_signals(service, interactions, weights={"alpha": 0})[0] == 202


def test_a_proxy_needs_rollouts_to_compare(service: Service, interactions: str) -> None:
    code, detail = select(service, interactions, proxy={}, rollouts={"group_size": 1})
    assert code == "invalid_request"
    assert "rollouts.group_size must be 2 or more" in detail


def test_strata_are_what_the_samples_have(service: Service, prompts: str, interactions: str) -> None:
    body = {"dataset_id": interactions, "model": MODEL, "size": 2}
    for by in ("user_id", "target"):
        assert service.http.post("/v1/selections", json=body | {"stratify_by": by}).status_code == 202
    assert "take user_id or target" in select(service, interactions, stratify_by="source")[1]
    code, detail = select(service, prompts, rewards=WORDS, stratify_by="user_id")
    assert (code, "take source" in detail) == ("strata_unavailable", True)
    text = {"dataset_id": prompts, "model": MODEL, "size": 2, "rewards": WORDS, "stratify_by": "source"}
    assert service.http.post("/v1/selections", json=text).status_code == 202


@pytest.mark.parametrize(
    ("users", "says"), [([None, None], "no sample has a user_id"), (["u", "u"], "all samples have the same user_id")]
)
def test_strata_that_tell_nothing_apart_are_refused(service: Service, users: list[str | None], says: str) -> None:
    rows = [{"id": f"x{n}", "history": ["i1"], "target": "i2", "user_id": user} for n, user in enumerate(users)]
    samples = "".join(json.dumps(row) + "\n" for row in rows)
    with service.files[1].open("rb") as items:
        made = service.http.post("/v1/datasets", files={"samples": ("s.jsonl", samples), "items": items}).json()
    code, detail = select(service, made["id"], size=1, stratify_by="user_id")
    assert (code, says in detail) == ("strata_unavailable", True)


def upload_splits(service: Service, splits: list[str | None]) -> str:
    """Upload samples x0, x1, ... of these splits."""
    rows = [{"id": f"x{n}", "history": ["i1"], "target": "i2", "split": split} for n, split in enumerate(splits)]
    samples = "".join(json.dumps(row) + "\n" for row in rows)
    with service.files[1].open("rb") as items:
        made = service.http.post("/v1/datasets", files={"samples": ("s.jsonl", samples), "items": items})
    return str(made.json()["id"])


def test_held_out_samples_are_selected_only_by_name(service: Service) -> None:
    dataset = upload_splits(service, ["test", "valid", "test"])
    code, detail = select(service, dataset)
    assert code == "empty_pool"
    assert "neither `train` samples nor samples without a split (test: 2, valid: 1)" in detail
    body = {"dataset_id": dataset, "model": MODEL, "size": 2, "pool": {"split": "test"}}
    assert service.http.post("/v1/selections", json=body).status_code == 202


@pytest.mark.parametrize("split", ["valid", "test"])
def test_training_on_what_is_evaluated_is_refused(service: Service, split: str) -> None:
    dataset = upload_splits(service, ["train", split, None])
    body = training_body(dataset, ids=["x0", "x2", "x1"])
    code, detail = fault(service, "/v1/training_jobs", body)
    assert code == "trains_on_evaluation"
    assert f"1 of 3 samples to train on are of the {split} split" in detail
    assert "'x1'" in detail
    allowed = [body | {"ids": ["x0", "x2"]}, body | {"evaluation": {f"{split}_samples": 0}}]
    assert [service.http.post("/v1/training_jobs", json=other).status_code for other in allowed] == [202, 202]


def test_trainers_are_made_for_one_kind(service: Service, prompts: str, interactions: str) -> None:
    code, detail = fault(service, "/v1/training_jobs", training_body(prompts))
    assert code == "wrong_trainer"
    assert "take text_grpo" in detail
    text = training_body(interactions, trainer="text_grpo", args={"rewards": WORDS})
    assert fault(service, "/v1/training_jobs", text)[0] == "wrong_trainer"


@pytest.mark.parametrize(
    "setting",
    [
        {"item_loss_weight": 0.5},
        {"token_loss_weight": 0.0},
        {"catalogue_refresh": 3},
        {"item_negatives": None},
        {"learning_rate_schedule": "linear"},
    ],
)
def test_settings_of_the_other_trainer_are_not_taken_in_silence(
    service: Service, prompts: str, setting: dict[str, Any]
) -> None:
    body = training_body(prompts, trainer="text_grpo", args={"rewards": WORDS, "grpo": setting})
    code, detail = fault(service, "/v1/training_jobs", body)
    assert code == "invalid_request"
    assert "is rec_grpo's" in detail
