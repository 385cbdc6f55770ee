"""Route of rewards: what an answer to a prompt may earn."""

from __future__ import annotations

from fastapi import APIRouter

from minirec.api_schemas import Page, Reward, TextReward
from minirec.rewards import BUILT_IN, UnknownRewardError, does_need_answer, known_rewards, load_reward, summary_of
from minirec.service.problems import problems

router = APIRouter(prefix="/v1/rewards", tags=["rewards"], responses=problems(401, 422, 503))


@router.get("")
def list_rewards() -> Page[Reward]:
    """List the rewards of text that requests may name: those built in first, then those of installed packages.

    All are in one page. Interactions have the reward of their recommendations and take none of these.
    """
    return Page(data=[_reward(name) for name in known_rewards()], has_more=False)


def _reward(name: str) -> Reward:
    try:
        reward = load_reward(name)
    except UnknownRewardError as error:
        return Reward(name=name, built_in=False, summary="", error=str(error))
    parameters = TextReward.model_json_schema()["properties"]
    return Reward(
        name=name,
        built_in=name in BUILT_IN,
        summary=summary_of(reward),
        needs_answer=does_need_answer(reward),
        parameters={parameter: schema for parameter, schema in parameters.items() if parameter != "name"},
    )
