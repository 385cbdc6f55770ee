"""What an installation from a wheel puts into somebody's environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[3]
LINKED = ("api_schemas", "service", "worker")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install` fills it."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    # From a copy, links and all: a build leaves a folder behind.
    source.mkdir()
    names = ["pyproject.toml", "README.md", "LICENSE", "NOTICE", "minirec", *LINKED]
    subprocess.run(["cp", "-a", *(str(ROOT / name) for name in names), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "-w", str(folder), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_nothing_lies_beside_minirec(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"minirec"}
    assert len(names) == 2


def test_every_file_of_the_packages_is_in_it(installed: Path) -> None:
    folders = {ROOT / name: installed / "minirec" / name for name in LINKED} | {ROOT / "minirec": installed / "minirec"}
    missing = [
        str(path)
        for folder, there in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not (there / path.relative_to(folder)).is_file()
    ]
    assert missing == []


def test_the_folders_are_links(installed: Path) -> None:
    """A checkout has them at its top, an installation has folders of its own."""
    for name in LINKED:
        assert (ROOT / "minirec" / name).readlink() == Path("..", name)
        assert not (installed / "minirec" / name).is_symlink()


def test_a_module_of_somebody_else_is_not_hidden(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("MINE = True")
    code = "import service; from minirec import MiniRec; import minirec; print(service.MINE, minirec.__file__)"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(installed), str(tmp_path)]}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["True", str(installed / "minirec/__init__.py")]
