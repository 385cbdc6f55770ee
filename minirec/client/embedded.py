"""A stack that a script or notebook starts for itself, and that ends with it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from minirec.client.errors import StackError
from minirec.client.local import LOCK, RunningStack, data_dir, is_locked, stack_in

START_SECONDS = 180.0
"""How long a stack may take to come up, and an earlier one in its folder to end."""
STOP_SECONDS = 60.0
PAUSE = 0.1


class EmbeddedStack:
    """A running stack: one that was started here and that `stop` ends, or one that was there and that goes on."""

    def __init__(self, stack: RunningStack, process: subprocess.Popen[bytes] | None = None) -> None:
        self.stack = stack
        self._process = process
        self._owner = os.getpid()
        if process is not None:
            atexit.register(self.stop)

    @classmethod
    def start(cls, folder: str | os.PathLike[str] | None, models_dir: str | os.PathLike[str] | None) -> EmbeddedStack:
        """Start a stack in a data folder, or join the one that runs there. Raises StackError."""
        path = data_dir() if folder is None else Path(folder)
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not is_locked(path / LOCK):
                try:
                    return cls._started(path, models_dir, deadline)
                except StackError:
                    if not is_locked(path / LOCK):
                        raise  # else somebody else was faster
            stack = stack_in(path)
            if stack is not None:
                return cls(stack)
            if time.monotonic() > deadline:  # neither came up nor ended
                raise StackError(f"another process holds {path / LOCK}, and no stack came up there")
            time.sleep(PAUSE)

    @classmethod
    def _started(cls, folder: Path, models_dir: str | os.PathLike[str] | None, deadline: float) -> EmbeddedStack:
        with tempfile.TemporaryFile() as output:
            process = run_up(folder, models_dir, output)
            try:
                return cls(when_ready(folder, process, output, deadline), process)
            except BaseException:
                end(process)
                raise

    def stop(self) -> None:
        """End the stack if it was started here; what is unfinished resumes with the next one in its folder."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():  # not in a fork
            atexit.unregister(self.stop)
            end(process)


def run_up(folder: Path, models_dir: str | os.PathLike[str] | None, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Run `minirec up` in a session of its own: it ends when this process closes its standard input, or has gone."""
    command = [sys.executable, "-P", "-m", "minirec.cli.main", "up", "--attached", "--port", "0"]
    command += ["--data-dir", str(folder.absolute())]
    if models_dir is not None:
        command += ["--models-dir", str(Path(models_dir).absolute())]
    packages = str(Path(__file__).resolve().parents[2])  # where a notebook's sys.path found this package
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), packages]))
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "1000"},
        start_new_session=True,
    )


def when_ready(folder: Path, process: subprocess.Popen[bytes], output: IO[bytes], deadline: float) -> RunningStack:
    """Return the stack of a process once it answers. Raise StackError with its own words where it does not come up."""
    while process.poll() is None and time.monotonic() < deadline:
        stack = stack_in(folder)
        if stack is not None and stack.pid == process.pid:
            return stack
        time.sleep(PAUSE)
    output.seek(0)
    words = output.read().decode(errors="replace").strip().removeprefix("Error: ")
    raise StackError(f"no stack came up in {folder}: {words or 'it said nothing'}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a stack to end, and kill it where it does not."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its guard ends what it started
        process.wait()
