"""Model references are data from outside: what is accepted, what is refused, and how content is pinned."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError

from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.policy import reference
from minirec.policy.reference import TOKENIZER_FILES, ModelRefused, resolve
from tests.unit.policy.files import write_tensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def root(tmp_path: Path, models_root: Path) -> Path:
    """A models folder of one's own, with the tiny model and an adapter's files."""
    folder = tmp_path / "models"
    shutil.copytree(models_root / "tiny", folder / "tiny")
    adapter = folder / "adapters" / "good"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    write_tensors(adapter / "adapter_model.safetensors", {"lora_A": (4, 8)})
    return folder


def local(root: Path, name: str = "tiny", adapter: str | None = None, **more: Any) -> reference.ResolvedModel:
    adapters = None if adapter is None else AdapterReference(source="local", id=adapter)
    return resolve(ModelReference(source="local", id=name, adapter=adapters, **more), models_root=root)


def refusal(run: Callable[[], Any]) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        run()
    return caught.value


def test_a_local_model_is_pinned_by_its_content(root: Path) -> None:
    first = local(root)
    assert first.path == root.resolve() / "tiny"
    assert len(first.revision) == 64
    shutil.copytree(root / "tiny", root / "copy")
    assert local(root, "copy").fingerprint() == first.fingerprint(), "the same files under another name"
    (root / "tiny" / "README.md").write_text("Not part of the model.")
    assert local(root).fingerprint() == first.fingerprint()
    (root / "tiny" / "chat_template.jinja").write_text("{{ messages }}")
    assert local(root).fingerprint() != first.fingerprint()


@pytest.mark.parametrize("file", [*TOKENIZER_FILES, "sentencepiece.bpe.model", "qwen.tiktoken", "tokenizer.model.v3"])
def test_whatever_a_tokenizer_is_read_from_is_part_of_the_name(root: Path, file: str) -> None:
    before = local(root).revision
    (root / "tiny" / file).write_text("{}")
    assert local(root).revision != before


def test_other_dtype_or_adapter_is_another_fingerprint(root: Path) -> None:
    variants = [local(root), local(root, dtype="bfloat16"), local(root, adapter="adapters/good")]
    assert len({variant.fingerprint() for variant in variants}) == 3


def test_weights_are_not_read_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = local(root)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert local(root).revision == first.revision


@pytest.mark.parametrize("name", ["../outside", "tiny/../../outside", "/etc"])
def test_nothing_outside_the_models_folder_is_reached(root: Path, name: str) -> None:
    (root.parent / "outside").mkdir()
    wanted = ModelReference.model_construct(source="local", id=name, revision=None, adapter=None, dtype="auto")
    assert refusal(lambda: resolve(wanted, models_root=root)).code == "model_not_allowed"


def test_symbolic_links_are_refused(root: Path) -> None:
    outside = root.parent / "outside"
    shutil.copytree(root / "tiny", outside)
    (root / "linked").symlink_to(outside)
    assert refusal(lambda: local(root, "linked")).code == "model_not_allowed"
    (root / "tiny" / "tokenizer.json").unlink()
    (root / "tiny" / "tokenizer.json").symlink_to(outside / "tokenizer.json")
    assert refusal(lambda: local(root)).code == "unsafe_model"


def test_a_models_folder_that_is_itself_a_link_is_fine(root: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    assert local(alias).revision == local(root).revision


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_auto_map_is_refused_wherever_it_hides(root: Path, file: str) -> None:
    path = root / "tiny" / file
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"nested": {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}}))
    refused = refusal(lambda: local(root))
    assert refused.code == "unsafe_model"
    assert file in str(refused)


def test_python_files_are_refused(root: Path) -> None:
    (root / "tiny" / "deep").mkdir()
    (root / "tiny" / "deep" / "modeling_tiny.py").write_text("print('hello')")
    assert refusal(lambda: local(root)).code == "unsafe_model"


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_alone_are_refused(root: Path, file: str) -> None:
    (root / "tiny" / "model.safetensors").rename(root / "tiny" / file)
    refused = refusal(lambda: local(root))
    assert refused.code == "unsafe_model"
    assert "safetensors" in str(refused)


@pytest.mark.parametrize("shard", ["model-00002-of-00002.safetensors", "../other/model.safetensors"])
def test_weights_listed_but_not_in_the_folder_are_refused(root: Path, shard: str) -> None:
    (root / "other").mkdir()
    (root / "other" / "model.safetensors").write_bytes(b"of another model")
    (root / "tiny" / "model.safetensors").rename(root / "tiny" / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": shard}}
    (root / "tiny" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shard in str(refusal(lambda: local(root)))


def test_what_is_not_there_is_said(root: Path) -> None:
    assert refusal(lambda: local(root, "nothing")).code == "model_not_found"
    (root / "empty").mkdir()
    assert "config.json" in str(refusal(lambda: local(root, "empty")))
    no_folder = ModelReference(source="local", id="tiny")
    assert refusal(lambda: resolve(no_folder, models_root=None)).code == "model_not_allowed"
    assert refusal(lambda: local(root, revision="main")).code == "model_not_found"


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "adapter_mismatch"),
        ({"peft_type": "LORA", "megatron_config": {}, "auto_mapping": None}, None),
        ({"peft_type": "LORA", "megatron_config": {"x": 1}, "megatron_core": "evil"}, "unsafe_model"),
    ],
)
def test_adapters_are_checked_before_peft_sees_them(root: Path, config: dict[str, Any], code: str | None) -> None:
    (root / "adapters" / "good" / "adapter_config.json").write_text(json.dumps(config))
    if code is None:
        assert local(root, adapter="adapters/good").adapter_path is not None
    else:
        assert refusal(lambda: local(root, adapter="adapters/good")).code == code


def test_pickled_adapters_are_refused(root: Path) -> None:
    folder = root / "adapters" / "good"
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert refusal(lambda: local(root, adapter="adapters/good")).code == "unsafe_model"


class Hub:
    """What the hub would answer for one repository."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, names: list[str] | None = None) -> None:
        self.path = path
        self.names = names or [file.name for file in path.iterdir()]
        self.error: Exception | None = None
        self.cached = False
        self.asked: list[tuple[str, str | None]] = []
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot)

    def model_info(self, repo_id: str, revision: str | None, timeout: float) -> Any:
        self.asked.append((repo_id, revision))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in self.names])

    def snapshot(self, repo_id: str, *, revision: str | None, local_files_only: bool = False, **_: Any) -> str:
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not cached")
        assert local_files_only or revision == COMMIT, "a branch may move between the check and the download"
        return str(self.path)


def hub_model(revision: str | None = None, allowed: tuple[str, ...] = ("*",)) -> reference.ResolvedModel:
    wanted = ModelReference(source="hub", id="team/model", revision=revision)
    return resolve(wanted, models_root=None, allowed=allowed)


def test_a_hub_revision_becomes_a_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, root / "tiny")
    assert hub_model("main").revision == COMMIT
    assert hub.asked == [("team/model", "main")]


def test_hub_ids_off_the_allow_list_are_not_even_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, root / "tiny")
    assert refusal(lambda: hub_model(allowed=("HuggingFaceTB/*", "team/model-2"))).code == "model_not_allowed"
    assert hub.asked == []
    assert hub_model(allowed=("team/*",)).id == "team/model"


def test_hub_repositories_with_code_or_pickles_are_not_downloaded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, root / "missing", names=["config.json", "model.safetensors", "modeling_x.py"])
    assert refusal(hub_model).code == "unsafe_model"
    Hub(monkeypatch, root / "missing", names=["config.json", "pytorch_model.bin"])
    assert refusal(hub_model).code == "unsafe_model"


def test_without_a_hub_the_fetched_copy_serves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "tiny").rename(root / COMMIT)
    hub = Hub(monkeypatch, root / COMMIT)
    hub.error = OfflineModeIsEnabled("offline")
    assert refusal(hub_model).code == "model_not_found"
    hub.cached = True
    assert hub_model().revision == COMMIT


def test_an_unknown_hub_model_is_said_to_be_unknown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, root / "tiny")
    response: Any = SimpleNamespace(headers={}, request=None, status_code=404)
    hub.error = RepositoryNotFoundError("404", response=response)
    assert refusal(hub_model).code == "model_not_found"


def test_resolving_needs_no_torch() -> None:
    """Stages that only look a model up run on workers that never load one."""
    code = "import sys, minirec.policy.reference; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
