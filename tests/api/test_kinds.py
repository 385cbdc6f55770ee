"""What fits which kind of dataset is said when it is asked for, not when a worker meets it."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_a_baseline_that_needs_a_catalogue_is_refused(service: Service, prompts: str) -> None:
    assert select(service, prompts, rewards=WORDS, baselines=["el2n"])[0] == "baseline_unavailable"
    assert select(service, prompts, rewards=WORDS, weights={"vector": "teacher"})[0] == "vector_unavailable"


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
