"""What is refused before a model runs."""

from __future__ import annotations

from collections.abc import Sequence

from minirec.api_schemas import TextReward
from minirec.data.dataset import PromptDataset
from minirec.rewards import Scorer, UnknownRewardError
from minirec.worker.pools import Rows
from minirec.worker.work import UnitError


def check_rewards(prompts: PromptDataset, rewards: Sequence[TextReward] | None, rows: Rows) -> None:
    """Raise UnitError for rewards that are not known here, or that compare with answers that some rows lack."""
    try:
        scorer = Scorer(rewards or [])
    except UnknownRewardError as error:
        raise UnitError("unknown_reward", str(error)) from error
    if not rewards:
        raise UnitError("rewards_missing", "the dataset has prompts, and no rewards say what an answer earns")
    if scorer.needs_answer and (missing := prompts.without_answer(rows)):
        raise UnitError(
            "answer_missing",
            f"{len(missing)} of {len(rows)} samples have no answer for {scorer.needs_answer[0]!r} to compare with, "
            f"the first is {missing[0]!r}",
        )


def subset_size(size: int | float, pool: int) -> int:
    """Return how many samples to select. Raises UnitError when the pool is too small."""
    if isinstance(size, float):
        return max(1, round(size * pool))
    if size > pool:
        raise UnitError(
            "size_too_large", f"size is {size} and the pool has {pool} samples; ask for fewer, or for a part like 0.1"
        )
    return size
