"""`minirec rewards`: which rewards of text there are."""

from __future__ import annotations

from minirec.cli.options import AsJson
from minirec.cli.output import print_json, results, table
from minirec.rewards import UnknownRewardError, known_rewards, load_reward, summary_of


def rewards(as_json: AsJson = False) -> None:
    """List the rewards that answers to prompts can earn: those built in, and those of packages installed here.

    Their names go to --reward, with a weight if they should not all count the same:

        minirec select --dataset ds_abc --model ./my-model --size 256 --reward exact_title --reward token_f1=0.5

    A package that brings its own must be installed where the service and its workers run; docs/rewards.md says how.
    """
    found = [(name, described(name)) for name in known_rewards()]
    if as_json:
        print_json({"name": name, "description": text} for name, text in found)
    else:
        results.print(table(("name", ""), found))


def described(name: str) -> str:
    """Return what a reward pays for, in one line: the first of its function's docstring."""
    try:
        return summary_of(load_reward(name))
    except UnknownRewardError as error:
        return str(error)
