"""What is started is kept running, and nothing of it outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minirec.cli.data_folder import DataFolder, FolderInUseError
from minirec.cli.supervisor import Child, Program, Supervisor

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = f"""
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {DEAF!r}])
open("grandchild", "w").write(str(child.pid))
time.sleep(600)
"""
DEAF_PARENT = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + PARENT


def eventually(reached: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


@pytest.fixture
def supervisor(folder: DataFolder, said: list[str]) -> Iterator[Supervisor]:
    with folder.locked() as lock:
        made = Supervisor(said.append, lock)
        yield made
        made.kill_now()
        made.stop([list(made.children)])


def program(folder: Path, code: str, name: str = "it", **changes: object) -> Program:
    arguments = [sys.executable, "-c", code]
    log = folder / f"{name}.log"
    return Program(name=name, command=arguments, environment=os.environ, folder=folder, log=log, **changes)  # type: ignore[arg-type]


def runs(child: Child) -> bool:
    return child.program.log.exists() and "up" in child.program.log.read_text()


@pytest.mark.slow
def test_a_child_that_dies_is_started_again_and_its_death_is_told(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    child = supervisor.start(program(tmp_path, SLEEPER))
    eventually(lambda: runs(child))
    first = child.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child.pid not in (0, first))
    assert said == [f"it was killed by SIGKILL; starting it again in 1 s. Its log: {tmp_path / 'it.log'}"]


def test_what_a_dead_child_had_started_dies_before_it_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(program(tmp_path, PARENT))
    eventually(lambda: runs(child))
    grandchild = int((tmp_path / "grandchild").read_text())
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: not alive(grandchild))


def test_pauses_between_starts_grow_to_half_a_minute_and_shrink_after_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    child = Child(program(tmp_path, SLEEPER), lock=0)
    child.started = clock
    assert [child.plan_restart() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    clock += 61
    assert child.plan_restart() == 1


def test_stopping_asks_first_then_kills_with_all_descendants(supervisor: Supervisor, tmp_path: Path) -> None:
    polite = supervisor.start(program(tmp_path, SLEEPER, "polite", grace=0.3))
    stubborn = supervisor.start(program(tmp_path, DEAF_PARENT, "stubborn", grace=0.3))
    eventually(lambda: runs(polite) and runs(stubborn))
    grandchild = int((tmp_path / "grandchild").read_text())
    pids = [polite.pid, stubborn.pid, grandchild]
    supervisor.stop([["polite", "stubborn"]])
    assert not any(map(alive, pids))


def test_stopping_goes_in_order(supervisor: Supervisor, tmp_path: Path) -> None:
    code = """
import signal, sys, time
def stop(*_):
    time.sleep(0.2)
    open("order", "a").write(sys.argv[1] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
time.sleep(600)
"""
    children = []
    for name in ("redis", "api"):
        made = program(tmp_path, code, name)
        command = [*made.command, name]
        children.append(supervisor.start(Program(name, command, made.environment, made.folder, made.log)))
    eventually(lambda: all(map(runs, children)))
    supervisor.stop([["api"], ["redis"]])
    assert (tmp_path / "order").read_text() == "api redis "


def test_standard_input_reaches_the_child_whole(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import sys; open('got', 'w').write(sys.stdin.read()); print('up', flush=True); import time; time.sleep(600)"
    child = supervisor.start(program(tmp_path, code, stdin=b"requirepass secret\n"))
    eventually(lambda: runs(child))
    assert (tmp_path / "got").read_text() == "requirepass secret\n"


@pytest.mark.slow
def test_nothing_is_left_when_the_supervisor_is_killed_and_the_folder_is_locked_until_then(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from minirec.cli.data_folder import DataFolder
from minirec.cli.supervisor import Program, Supervisor
here = Path(sys.argv[1])
with DataFolder(here / "data").locked() as lock:
    supervisor = Supervisor(print, lock)
    child = supervisor.start(Program("it", [sys.executable, "-c", {PARENT!r}], os.environ, here, here / "it.log"))
    while not (here / "it.log").exists() or "up" not in (here / "it.log").read_text():
        time.sleep(0.02)
    print(child.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        grandchild = int((tmp_path / "grandchild").read_text())
        with pytest.raises(FolderInUseError), DataFolder(tmp_path / "data").locked():
            pass
        process.kill()
    # The grandchild is deaf to SIGTERM: it takes the guard's whole patience.
    with pytest.raises(FolderInUseError), DataFolder(tmp_path / "data").locked():
        pass
    eventually(lambda: not alive(child) and not alive(grandchild), seconds=15)
    eventually(lambda: DataFolder(tmp_path / "data").running() is None)
    with DataFolder(tmp_path / "data").locked():
        pass
