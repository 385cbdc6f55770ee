"""Explain, compare, profile and plot: what they say of answers of the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minirec.api_schemas import SelectionPlots
from minirec.cli.plots import plot_selection
from minirec.cli.reward_profile import counted
from tests.unit.cli.test_commands import RESULT, SCORE, answer, run
from tests.unit.client.scripted_service import problem, selection_json

DONE = selection_json("succeeded", result=RESULT, started_at=1.0, finished_at=66.0)
EXPLAINED = {
    "selection_id": "sel_1",
    "score": SCORE | {"picked_rank": None, "training_position": None, "representativeness": 0.5},
    "sample": {"id": "[s1]", "history": ["i1"], "target": "i2"},
    "history": [{"item_id": "i1", "title": "Apollo [13]"}],
    "target": {"item_id": "i2", "title": "Crimson Tide"},
    "rollouts": [
        {"reward": 0.4, "hit": True, "text": "likes \x1b[2Jsubmarines", "cut": True},
        {"reward": 0.6, "hit": 1},
    ],
    "texts_kept": 1,
    "score_rank": 16,
    "lowest_picked_score": 0.25,
    "nearest_pick": {"id": "s9", "distance": 0.125, "picked_rank": 3},
    "reason": "gated",
    "why": "The gate left it out as too easy.",
}
PLOTS = {
    "selection_id": "sel_1",
    "funnel": {
        "left_out": 0,
        "pool": 10,
        "gated": {"too_hard": 4},
        "open": 6,
        "picked": 2,
        "backfilled": 0,
        "never_solved": 0,
        "all_alike": 0,
    },
    "rewards": {
        "edges": [0.0, 0.25, 0.5, 0.75, 1.0],
        "counts": {"open": [0, 1, 2, 3], "too_hard": [4, 0, 0, 0], "too_easy": [0] * 4, "no_spread": [0] * 4}
        | {"picked": [0, 1, 1, 0]},
    },
    "points": {
        "ids": ["a", "b", "c"],
        "picked": 1,
        "reward": [0.3, 0.6, 0.9],
        "learnability": [1.0, 0.5, 0.0],
        "representativeness": [0.9, 0.1, 0.5],
    },
    "curriculum": [],
}


def score(name: str, rewards: list[float], rank: int | None = None, **changes: Any) -> dict[str, Any]:
    hits = [reward > 0 for reward in rewards]
    mean = sum(rewards) / len(rewards)
    facts = {"rewards": rewards, "hit": hits, "pass_rate": sum(hits) / len(hits), "reward_mean": mean, "gate": "open"}
    return SCORE | facts | {"id": name, "picked_rank": rank} | changes


def page(*rows: dict[str, Any]) -> httpx2.Response:
    return answer({"data": list(rows), "has_more": False})


def test_a_sample_is_explained_with_titles_rollouts_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result, service = run(monkeypatch, ["explain", "sel_1", "[s1]"], answer(EXPLAINED))
    assert result.exit_code == 0, result.output
    assert service.requests[0].url.path == "/v1/selections/sel_1/scores/[s1]"
    for part in (
        "too easy.",
        "17. of the pool",
        "s9, number 4, at distance 0.1250",
        "Apollo [13] (i1)",
        "Crimson Tide",
    ):
        assert part in result.stdout
    assert "likes \ufffd[2Jsubmarines ..." in result.stdout, "a terminal obeys no model"
    assert "kept of 1 rollouts" in result.stderr
    result, _ = run(monkeypatch, ["explain", "sel_1", "s1", "--json"], answer(EXPLAINED))
    assert json.loads(result.stdout)["reason"] == "gated"
    prompt = {name: value for name, value in EXPLAINED.items() if name not in ("history", "target")}
    prompt["sample"] = {"id": "p1", "prompt": [{"role": "user", "content": "What is 2 + 2?"}], "answer": "4"}
    result, _ = run(monkeypatch, ["explain", "sel_1", "p1"], answer(prompt))
    assert "What is 2 + 2?" in result.stdout
    result, _ = run(monkeypatch, ["explain", "sel_1", "x"], problem(404, detail="'x' is no sample of sel_1's pool"))
    assert (result.exit_code, "'x' is no sample" in result.stderr) == (1, True)


def test_two_selections_are_compared_by_what_they_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    other = selection_json("succeeded", id="sel_2", result=RESULT)
    other["request"] |= {"size": 2, "weights": {"choice": "diverse"}, "metadata": {"run": "7"}}
    ours = page(score("a", [0.0, 1.0], 0), score("b", [1.0, 1.0], 1), score("c", [0.0, 0.5], 2))
    theirs = page(score("c", [0.0, 0.5], 0), score("d", [0.0, 0.0], 1, gate="too_hard"))
    answers = (answer(DONE), answer(other), ours, theirs)
    result, service = run(monkeypatch, ["compare", "sel_1", "sel_2", "--json"], *answers)
    found = json.loads(result.stdout)
    assert (found["shared"], found["jaccard"]) == (1, 0.25)
    assert [side["only"] for side in found["sides"]] == [["a", "b"], ["d"]]
    assert [side["wasted_rollouts"] for side in found["sides"]] == [2, 2]
    assert [side["never_solved"] for side in found["sides"]] == [0, 1]
    assert found["settings"] == {"size": [8, 2], "weights.choice": [None, "diverse"]}
    assert service.requests[2].url.params["picked"] == "true"
    result, _ = run(monkeypatch, ["compare", "sel_1", "sel_2"], *answers)
    assert "Jaccard 0.250" in result.stdout
    assert "2 of 6" in result.stdout
    assert "Only in sel_1: a, b" in result.stderr


def test_a_selection_is_compared_with_its_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = {"overlap": 0.5, "reward_mean": 0.1, "pass_rate": 0.5, "dead": 0, "learnability_mean": 0.1}
    random = {"selection_id": "sel_1", "baseline": "random", "ids": ["a", "z"], "comparison": arm}
    pool = page(score("a", [0.0, 1.0], 0), score("b", [0.2, 1.0], 1), score("z", [0.0, 0.0], None))
    result, service = run(monkeypatch, ["compare", "sel_1", "random", "--json"], answer(DONE), pool, answer(random))
    found = json.loads(result.stdout)
    assert found["sides"][1] | {"name": "random", "only": ["z"], "wasted_rollouts": 2} == found["sides"][1]
    assert service.requests[-1].url.path == "/v1/selections/sel_1/baselines/random"


def test_a_profile_says_how_much_of_the_pool_teaches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = page(score("a", [0.0, 0.0]), score("b", [1.0, 1.0]), score("c", [0.0, 0.5], 0), score("d", [0.25, 0.25]))
    lines = tmp_path / "profile.jsonl"
    result, _ = run(monkeypatch, ["profile", "sel_1", "--json", "-o", str(lines)], rows)
    pool, picked = (json.loads(result.stdout)[name] for name in ("pool", "picked"))
    counts = ("samples", "rollouts", "never_solved", "always_solved", "all_zero", "all_one", "all_alike")
    assert [pool[name] for name in counts] == [4, 8, 1, 2, 1, 1, 3]
    assert (picked["samples"], picked["reward_mean"], picked["std_mean"]) == (1, 0.25, 0.25)
    assert pool["rewards"] == [3, 0, 2, 0, 0, 1, 0, 0, 0, 2]
    assert pool["means"] == [1, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["id"], row["mean"], row["max"], row["picked"]) for row in written][2] == ("c", 0.25, 0.5, True)
    result, _ = run(monkeypatch, ["profile", "sel_1"], rows)
    assert "1 (25.0%)" in result.stdout


def test_rewards_outside_of_0_and_1_are_counted_too() -> None:
    assert counted([-1.0, 3.0, 3.0], (-1.0, 3.0)) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_a_selection_is_drawn_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    result, service = run(monkeypatch, ["plot", "sel_1"], answer(PLOTS))
    assert service.requests[0].url.path == "/v1/selections/sel_1/plots"
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["0.000-0.500", "5", "1"] in [row[:3] for row in rows]
    assert ["0.500-1.000", "5", "1"] in [row[:3] for row in rows]
    bars = [row[3] for row in rows if row[:1] in (["0.000-0.500"], ["0.500-1.000"])]
    assert [bar.count("░") for bar in bars] == [32, 0], "four of five in the first half are too hard"
    assert [bar.count("█") for bar in bars] == [8, 40]
    grid = [line for line in result.stdout.splitlines() if line.startswith("│")]
    assert grid[0].index("o") == 60, "the pick has the highest L and R"
    assert all("o" not in line for line in grid[1:])
    result, _ = run(monkeypatch, ["plot", "sel_1", "--json"], answer(PLOTS))
    assert json.loads(result.stdout)["funnel"]["picked"] == 2
    flat = PLOTS | {"points": PLOTS["points"] | {"representativeness": None}}  # type: ignore[operator]
    result, _ = run(monkeypatch, ["plot", "sel_1"], answer(flat))
    assert "there is no R" in result.stdout


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_selection_is_drawn_into_a_file(tmp_path: Path, ending: str, start: bytes) -> None:
    found = SelectionPlots.model_validate(PLOTS)
    found.points.representativeness = None if ending == "pdf" else found.points.representativeness
    assert plot_selection(found, tmp_path / f"plot.{ending}").read_bytes().startswith(start)


def test_a_page_is_the_report_and_other_endings_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "plot.html"
    result, service = run(monkeypatch, ["plot", "sel_1", "-o", str(target)], httpx2.Response(200, content=b"<!doctype"))
    assert (result.exit_code, target.read_bytes()) == (0, b"<!doctype")
    assert service.requests[0].url.path == "/v1/selections/sel_1/report"
    result, service = run(monkeypatch, ["plot", "sel_1", "-o", "plot.gif"], problem(500))
    assert (result.exit_code, service.requests) == (2, [])
    assert "plot.gif names no kind of picture" in result.stderr
