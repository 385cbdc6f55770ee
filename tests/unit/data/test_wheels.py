"""Files out of wheels come verified and whole, by pip's own settings, or with a message that says what failed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from minirec.data.wheels import FetchError, cache_dir, fetch_members
from tests.unit.data.fixture_types import Publish

CONTENT = b"one line\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "taken"
    path.mkdir()
    return path


def test_takes_the_named_files_and_nothing_else(package_index: Publish, folder: Path) -> None:
    package_index("some-data==1.0", {"some_data/a.txt": CONTENT, "some_data/b.txt": b"b", "some_data/code.py": b"1/0"})
    wanted = {"some_data/b.txt": hashlib.sha256(b"b").hexdigest(), "some_data/a.txt": SHA256}
    assert fetch_members("some-data==1.0", wanted, folder) == [folder / "b.txt", folder / "a.txt"]
    assert (folder / "a.txt").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt"]


def test_other_content_than_the_pinned_one_is_refused(package_index: Publish, folder: Path) -> None:
    package_index("some-data==1.0", {"some_data/a.txt": CONTENT + b"!"})
    with pytest.raises(FetchError, match=f"not the expected {SHA256}; it was not used"):
        fetch_members("some-data==1.0", {"some_data/a.txt": SHA256}, folder)
    assert list(folder.iterdir()) == []


def test_a_wheel_without_the_file_is_named(package_index: Publish, folder: Path) -> None:
    package_index("some-data==1.0", {})
    with pytest.raises(FetchError, match=r"some_data-1\.0-py3-none-any\.whl has no readable some_data/a\.txt"):
        fetch_members("some-data==1.0", {"some_data/a.txt": SHA256}, folder)


def test_an_index_without_the_package_is_told_with_the_words_of_pip(package_index: Publish, folder: Path) -> None:
    with pytest.raises(FetchError, match=r"could not download some-data==9\.9 (?s:.*)No matching distribution"):
        fetch_members("some-data==9.9", {"some_data/a.txt": SHA256}, folder)
    assert list(folder.iterdir()) == []


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINIREC_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("MINIREC_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "minirec"
