"""The synchronous client is what scripts/unasync.py makes of the asynchronous one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NEW = '''"""A resource that no rule of the script names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from minirec.client._async.transport import AsyncTransport
from minirec.client.threads import in_thread


class AsyncThings:
    """See `AsyncThings.all`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport

    async def all(self, path: str) -> AsyncIterator[str]:
        async with self.transport.pause() as lines:
            await anyio.sleep(1)
            text = await in_thread(open, path, mode="r")
            await in_thread(text.close)
            async for line in lines:
                yield line
'''


def unasync(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, folder / "scripts" / "unasync.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copied(tmp_path: Path) -> Path:
    for name in ("_async", "_sync"):
        shutil.copytree(ROOT / "minirec" / "client" / name, tmp_path / "minirec" / "client" / name)
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/unasync.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_synchronous_client_is_up_to_date() -> None:
    done = unasync(ROOT, "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_change_of_either_side_is_found_and_mended(tmp_path: Path) -> None:
    root = copied(tmp_path)
    sync = root / "minirec" / "client" / "_sync"
    before = (sync / "jobs.py").read_text()
    (sync / "jobs.py").write_text(before + "# by hand\n")
    (sync / "stray.py").write_text("")
    (sync / "files.py").unlink()
    check = unasync(root, "--check")
    assert check.returncode == 1
    assert [Path(line).name for line in check.stdout.splitlines()] == ["files.py", "jobs.py", "stray.py"]
    assert "_async" in check.stderr
    assert unasync(root).returncode == 0
    assert unasync(root, "--check").returncode == 0
    assert (sync / "jobs.py").read_text() == before
    assert not (sync / "stray.py").exists()


def test_a_new_class_and_its_methods_need_no_rule(tmp_path: Path) -> None:
    root = copied(tmp_path)
    (root / "minirec" / "client" / "_async" / "things.py").write_text(NEW)
    assert unasync(root).returncode == 0
    made = (root / "minirec" / "client" / "_sync" / "things.py").read_text()
    assert made.startswith("# Generated from ../_async by scripts/unasync.py. Do not edit.\n")
    assert "sync" not in made.partition("\n")[2].replace("minirec.client._sync.transport", "")
    assert made.endswith(
        '''class Things:
    """See `Things.all`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def all(self, path: str) -> Iterator[str]:
        with self.transport.pause() as lines:
            time.sleep(1)
            text = open(path, mode="r")
            text.close()
            yield from lines
'''
    )
