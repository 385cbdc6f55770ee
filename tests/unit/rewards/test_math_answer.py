"""`math_answer`: right where mathematicians agree, never paid for a part of an answer, and never stuck."""

from __future__ import annotations

import os
import threading
import time

import pytest

from minirec.rewards import load_reward, mathematics
from minirec.rewards.mathematics import MathUnavailableError


def earned(completion: str, answer: str | list[str], name: str = "math_answer") -> float:
    return load_reward(name)(completion, answer, {"id": "s"})


PAIRS = [
    (r"\boxed{\frac{3}{4}}", "4", 0),
    (r"\boxed{−5}", "5", 0),
    (r"\boxed{1,2}", "12", 0),
    (r"\boxed{72\text{ cm}^2}", "2", 0),
    (r"\boxed{5\sqrt{2}}", "2", 0),
    (r"\boxed{2^{10}}", "10", 0),
    (r"\boxed{1.5 \times 10^3}", "3", 0),
    (r"\boxed{12}", "$12$", 1),
    (r"\boxed{\frac{3}{4}}", "3/4", 1),
    (r"\boxed{\dfrac{3}{4}}", r"\frac{3}{4}", 1),
    (r"\boxed{−5}", "-5", 1),
    (r"\boxed{-5}", "−5", 1),
    (r"\boxed{72\text{ cm}^2}", "72", 1),
    (r"\boxed{10{,}000}", "10000", 1),
    (r"\boxed{10\,000}", "10000", 1),
    (r"\boxed{18}", r"\$18", 1),
    (r"\boxed{50\%}", "50%", 1),
    (r"\boxed{1.5 \times 10^3}", "1500", 1),
    (r"\boxed{\text{A}}", "A", 1),
    (r"\boxed{90}", r"90^\circ", 1),
    (r"\boxed{1/2}", "0.5", 1),
    ("#### 18", "$18.00", 1),
    (r"\boxed{42}.", "42", 1),
    (r"\boxed{x=-3}", "-3", 1),
    (r"The answer is $\frac{3}{4}$.", "0.75", 1),
    ("The answer is 72.", "72", 1),
    ("It is 72 dollars", "72", 0),
    (r"\boxed{(1,2)}", "(2,1)", 0),
    (r"\boxed{\{1,2\}}", r"\{2,1\}", 1),
    (r"\boxed{5²}", "52", 0),
    (r"\boxed{}", "0", 0),
    ("", "0", 0),
]


@pytest.mark.parametrize(("completion", "answer", "reward"), PAIRS)
def test_answers_count_as_mathematics(completion: str, answer: str, reward: float) -> None:
    assert earned(completion, answer) == reward
    assert earned(completion, ["nothing like it", answer]) == reward


@pytest.mark.parametrize(("completion", "answer", "reward"), PAIRS)
def test_exact_answer_declines_where_it_would_have_to_guess(completion: str, answer: str, reward: float) -> None:
    assert earned(completion, answer, "exact_answer") <= reward


def test_a_worked_solution_stands_for_its_answer() -> None:
    assert earned(r"\boxed{\frac{144}{2}}", "Half of 48 is 24, so 48 + 24.\n#### 72") == 1


@pytest.mark.slow
@pytest.mark.parametrize("bomb", ["9^{9^{9^{9}}}", "1000000000!"])
def test_what_no_machine_can_hold_is_given_up_and_the_next_answer_is_read(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mathematics, "WALL_SECONDS", 3.0)
    earned(r"\boxed{\frac{2}{4}}", "0.5")  # The child is there.
    started = time.monotonic()
    assert earned(rf"\boxed{{{bomb}}}", "7") == 0
    assert time.monotonic() - started < 20
    assert earned(r"\boxed{\frac{3}{6}}", "0.5") == 1


@pytest.mark.slow
def test_it_works_outside_the_main_thread_and_in_a_forked_process() -> None:
    assert earned(r"\boxed{\frac{1}{4}}", "0.25") == 1
    found: list[float] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(earned(rf"\boxed{{\frac{{{n}}}{{8}}}}", str(n / 8))))
        for n in (1, 3, 5, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 4
    if (child := os.fork()) == 0:  # As Celery does.
        os._exit(0 if earned(r"\boxed{\frac{9}{8}}", "1.125") == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert earned(r"\boxed{\frac{11}{8}}", "1.375") == 1


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    monkeypatch.setattr(mathematics, "_child", mathematics._Child())
    with pytest.raises(MathUnavailableError, match=r"pip install 'minirec\[math\]'"):
        earned(r"\boxed{\frac{17}{8}}", "2.125")
