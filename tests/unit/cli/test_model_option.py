"""A model may be a folder of this machine, a name below the models folder, or a hub id."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from minirec.cli.connection import Connection
from minirec.cli.data_folder import RunningStack
from minirec.cli.model_option import model_reference, place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    (root / "org" / "mine").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    os.chdir(tmp_path)
    return root


@pytest.fixture(autouse=True)
def _stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())


@pytest.mark.parametrize("text", ["models/org/mine", "./models/org/mine", "org/mine", "models/../models/org/mine"])
def test_a_folder_that_the_service_may_read_is_local(root: Path, text: str) -> None:
    assert place(text, root, None) == {"source": "local", "id": "org/mine"}
    assert place(str(root / "org" / "mine"), root, None) == {"source": "local", "id": "org/mine"}


def test_what_is_no_folder_is_a_hub_id(root: Path) -> None:
    assert place("Qwen/Qwen2.5-0.5B", root, None) == {"source": "hub", "id": "Qwen/Qwen2.5-0.5B"}
    assert place("org/mine", root, False) == {"source": "hub", "id": "org/mine"}


def test_without_a_stack_here_local_is_what_the_user_says(root: Path) -> None:
    assert place("org/mine", None, True) == {"source": "local", "id": "org/mine"}
    assert place("org/mine", None, None) == {"source": "hub", "id": "org/mine"}


@pytest.mark.parametrize(
    ("below", "text"),
    [
        ("models/org/mine", "."),
        ("models/org/mine", "./"),
        ("models/org", "./mine"),
        ("models/org", "./mine/"),
        ("models/org", "mine"),
        ("models/org/mine", "../mine"),
        ("models/org/mine/deep", ".."),
        ("models", "./org/mine"),
        ("models", "org//mine/"),
        ("outside", "../models/org/mine"),
        ("outside", "latest"),
        ("outside", "./link"),
    ],
)
def test_a_path_means_the_same_from_everywhere(root: Path, below: str, text: str) -> None:
    (root / "org" / "mine" / "deep").mkdir()
    (root / "latest").symlink_to(root / "org" / "mine")
    (root.parent / "outside" / "link").symlink_to(root / "org" / "mine")
    os.chdir(root.parent / below)
    assert place(text, root, None) == {"source": "local", "id": "org/mine"}


def test_a_path_is_never_taken_for_a_name_in_the_models_folder(root: Path) -> None:
    (root / "org" / "models").mkdir()
    os.chdir(root.parent)
    with pytest.raises(typer.BadParameter, match="there is no folder ./org"):
        place("./org/mine", root, None)
    os.chdir(root / "org")
    with pytest.raises(typer.BadParameter, match="is the models folder itself"):
        place("..", root, None)


@pytest.mark.parametrize("name", ["my model", "_mine", "modèle", ".hidden", "a:b", "x" * 300])
def test_a_name_that_the_api_refuses_is_explained(root: Path, name: str) -> None:
    if len(name) < 256:
        (root / name).mkdir()
        with pytest.raises(typer.BadParameter, match=r"should be a hub id such as org/name, .* Rename the folder\."):
            place(name, root, None)
    with pytest.raises(typer.BadParameter, match=r"is not a name that the service takes: .* Check --model"):
        place(name, None, None)
    for local in (True, False):
        with pytest.raises(typer.BadParameter):
            place(name, None, local)


@pytest.mark.parametrize("name", ["", "/", "org/", "a//b"])
def test_what_is_no_name_is_refused(root: Path, name: str) -> None:
    if name == "org/":
        assert place(name, root, None) == {"source": "local", "id": "org"}
        return
    with pytest.raises(typer.BadParameter):
        place(name, root, None)


def test_a_file_is_not_a_folder(root: Path) -> None:
    (root / "weights.bin").write_text("")
    os.chdir(root)
    with pytest.raises(typer.BadParameter, match="weights.bin is not a folder"):
        place("./weights.bin", root, None)


def test_a_folder_elsewhere_is_refused_with_two_ways_out(root: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"outside the models folder .* minirec up --models-dir"):
        place("outside", root, None)
    with pytest.raises(typer.BadParameter, match=r"there is no folder \./nowhere"):
        place("./nowhere", root, None)
    with pytest.raises(typer.BadParameter, match="the service is elsewhere"):
        place("/models/org/mine", None, None)


def test_revision_and_adapter_go_into_the_reference(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = RunningStack("http://127.0.0.1:1", "/data", str(root), 1, {}, "/data/key")
    monkeypatch.setattr(Connection, "stack", lambda self: stack)
    assert model_reference(Connection(None, None), "Qwen/Q", local=None, revision="v1", adapter="org/mine") == {
        "source": "hub",
        "id": "Qwen/Q",
        "revision": "v1",
        "adapter": {"source": "local", "id": "org/mine"},
    }
