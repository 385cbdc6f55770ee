"""The worker's side of training in several processes, with a stand-in for the launcher."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from minirec.worker import launch
from minirec.worker.work import Interrupted, UnitError, Work
from tests.worker.bench import Bench

Launcher = Callable[[str], None]


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """Puts a Python program into the launcher's place."""

    def stand_in(program: str) -> None:
        monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-c", program])

    return stand_in


@pytest.fixture
def work(bench: Bench) -> Work:
    bench.train()
    bell = bench.doorbells[0]
    claim = bench.store.machine.claim(bell.group, bell.unit, worker="test", lease=60)
    assert claim is not None
    return Work(claim, bench.store, bench.settings, bench.runner._stopping)


def listen(work: Work, folder: Path) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    launch.run_in_processes(work, "rec_grpo", {}, folder, heard.append)
    return heard


def test_reports_are_passed_on_in_order(work: Work, launcher: Launcher, tmp_path: Path) -> None:
    launcher("""for n in (1, 2): print('{"event": "update", "update": %d}' % n)""")
    assert listen(work, tmp_path) == [{"event": "update", "update": 1}, {"event": "update", "update": 2}]


@pytest.mark.parametrize(("code", "retryable"), [("training_failed", False), ("internal_error", True)])
def test_the_error_of_a_process_becomes_the_units(
    work: Work, launcher: Launcher, tmp_path: Path, code: str, retryable: bool
) -> None:
    launcher(f"""print('{{"event": "error", "code": "{code}", "message": "it broke"}}'); exit(1)""")
    with pytest.raises(UnitError, match="^it broke$") as failed:
        listen(work, tmp_path)
    assert (failed.value.code, failed.value.retryable) == (code, retryable)


def test_processes_that_die_without_a_word_cost_an_attempt(work: Work, launcher: Launcher, tmp_path: Path) -> None:
    launcher("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(UnitError, match="lost, and the launcher ended with status -9") as failed:
        listen(work, tmp_path)
    assert failed.value.retryable


@pytest.mark.parametrize("program", ["import sys; sys.stdin.read()", "import time; time.sleep(600)"])
def test_leaving_the_unit_ends_even_a_launcher_that_hangs(
    bench: Bench, work: Work, launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(launch, "END_SECONDS", 0.5)
    launcher(program)
    bench.runner._stopping.set()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        listen(work, tmp_path)
    assert time.monotonic() - started < 5
    assert [child for child in psutil.Process().children() if program in child.cmdline()] == []
