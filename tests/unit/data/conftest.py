"""Small real files: a catalogue of three items and two good samples."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

ITEMS: list[dict[str, Any]] = [
    {"item_id": "a", "title": "Alien", "genres": ["Horror", "Sci-Fi"], "year": 1979},
    {"item_id": "b", "title": "Brazil", "genres": ["Comedy"], "year": 1985},
    {"item_id": "c", "title": "Amélie – le fabuleux destin", "genres": [], "year": 2001},
]
SAMPLES: list[dict[str, Any]] = [
    {
        "id": "s1",
        "user_id": "u1",
        "history": ["a", "b"],
        "target": "c",
        "timestamp": 1000,
        "ratings": [4.5, None],
        "history_timestamps": [900, None],
        "split": "train",
    },
    {"id": "s2", "history": ["c"], "target": "a"},
]


@pytest.fixture
def items() -> list[dict[str, Any]]:
    return [dict(item) for item in ITEMS]


@pytest.fixture
def samples() -> list[dict[str, Any]]:
    return [dict(sample) for sample in SAMPLES]


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[[str, Iterable[Any]], Path]:
    """Write a file of the given rows; text and bytes go in as the lines they are."""

    def write(name: str, rows: Iterable[Any]) -> Path:
        lines = (row if isinstance(row, bytes) else _text(row).encode() for row in rows)
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


def _text(row: Any) -> str:
    return row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, bytes]], None]:
    """A package index of handmade wheels: pip asks it, and nothing else."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def publish(requirement: str, members: dict[str, bytes]) -> None:
        name, version = requirement.replace("-", "_").split("==")
        info = f"{name}-{version}.dist-info"
        about = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }
        with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            for path, content in (members | about).items():
                wheel.writestr(path, content)

    return publish
