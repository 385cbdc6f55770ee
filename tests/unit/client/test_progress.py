"""The line that shows how far a job is."""

from __future__ import annotations

import io
from typing import Any

import pytest

from minirec.api_schemas import Evaluation, Selection, TrainingJob
from minirec.client.progress import ProgressLine, seconds_text
from tests.unit.client.scripted_service import evaluation_json, selection_json, training_job_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def scoring(scored: int, **changes: Any) -> Selection:
    return Selection(**selection_json("running", stage="scoring", counts={"total": 200, "scored": scored}, **changes))


def test_the_time_left_follows_from_the_pace_of_the_stage() -> None:
    now = [100.0]
    line = ProgressLine(Terminal(), clock=lambda: now[0])
    assert line.text(scoring(20)).endswith("] 20/200"), "nothing is known yet"
    now[0] += 10
    assert line.text(scoring(40)).endswith("40/200, 1:20 left")
    embedding = scoring(40).model_copy(update={"stage": "embedding_catalogue"})
    assert line.text(embedding).startswith("sel_1 embedding catalogue [")
    assert "left" not in line.text(embedding)


def test_the_services_own_estimate_goes_first() -> None:
    line = ProgressLine(Terminal(), clock=lambda: 100.0)
    assert line.text(scoring(20, estimated_finish=3_861.0)).endswith(", 1:02:41 left")


def test_a_terminal_has_one_line_that_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    line = ProgressLine(stream)
    for scored in (0, 10):
        line.show(scoring(scored))
    line.show(Selection(**selection_json("succeeded")))
    line.close()
    first, *shown = stream.getvalue().split("\r")
    assert first == ""
    assert [len(each) for each in shown] == [39, 39, 40]
    assert shown[-1].rstrip(" \n") == "sel_1 succeeded"
    assert stream.getvalue().endswith("\n")


def test_updates_and_evaluated_samples_are_counted_too() -> None:
    line = ProgressLine(Terminal())
    training = TrainingJob(**training_job_json("running", stage="training", updates_done=3, updates_total=16))
    assert line.text(training).endswith("] 3/16")
    evaluation = Evaluation(**evaluation_json("running", stage="evaluating", samples_done=0, samples_total=None))
    assert line.text(evaluation) == "evl_1 evaluating"


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (7.4, "0:07"), (60, "1:00"), (3_661, "1:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
