"""A zip file from elsewhere writes nothing outside its folder, and a broken one writes nothing at all."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from minirec.client import MiniRecError
from minirec.client.exports import empty_folder, unpack


def zipped(**entries: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def everything_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "sub/evil",
        "sub/",
        "..",
        "..\\evil",
        "C:evil",
        ".hidden",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MiniRecError, match=r"no plain file of its folder; nothing was unpacked"):
        unpack(zipped(**{"good.txt": b"good", name: b"evil"}), tmp_path / "out")
    assert everything_below(tmp_path) == []


def test_links_are_refused(tmp_path: Path) -> None:
    link = ZipInfo("link")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(MiniRecError, match="'link'"):
        unpack(file, tmp_path / "out")
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "changed", "something else"])
def test_a_damaged_file_leaves_nothing(tmp_path: Path, damage: str) -> None:
    content = zipped(one=b"1" * 1000, two=b"2" * 1000).getvalue()
    damaged = {"cut": content[:900], "changed": content.replace(b"22", b"23", 1), "something else": b"{}"}[damage]
    with pytest.raises(MiniRecError, match="ask for it again"):
        unpack(io.BytesIO(damaged), tmp_path / "out")
    assert everything_below(tmp_path) == []


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("one", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("one", b"2")
    with pytest.raises(MiniRecError, match="'one' twice"):
        unpack(file, tmp_path / "out")
    assert everything_below(tmp_path) == []


def test_a_file_that_grows_beyond_measure_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(100_000_000))
        archive.writestr("small", b"1")
    with pytest.raises(MiniRecError, match=r"would grow from .* to 100,000,001 bytes"):
        unpack(file, tmp_path / "out")
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize(("place", "value"), [(8, 99), (6, 1)], ids=["unknown method", "encrypted"])
def test_what_cannot_be_read_is_an_error_of_the_export(tmp_path: Path, place: int, value: int) -> None:
    content = bytearray(zipped(one=b"1" * 100).getvalue())
    content[place] = value
    content[content.index(b"PK\x01\x02") + place + 2] = value
    with pytest.raises(MiniRecError, match="ask for it again"):
        unpack(io.BytesIO(bytes(content)), tmp_path / "out")
    assert everything_below(tmp_path) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    assert empty_folder(tmp_path) == tmp_path
    assert empty_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "stage_00.jsonl").write_text("of an earlier export")
    for taken in (tmp_path, tmp_path / "stage_00.jsonl"):
        with pytest.raises(FileExistsError, match="is no empty folder"):
            empty_folder(taken)
