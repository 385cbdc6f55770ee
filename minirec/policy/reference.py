"""From a model reference, which is data from outside, to checked files in a local folder. Imports no torch.

Nothing that could run code is accepted: no `auto_map`, no Python files, no pickled weights; safetensors only. Files
that a library could not read, or would read for minutes, are refused here, by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import minirec.api_schemas.models as schemas
from minirec.policy.errors import ModelRefused
from minirec.policy.files import check_files, model_files, read_json, read_tensors
from minirec.policy.hub import fetch_snapshot
from minirec.policy.limits import check_adapter_config, check_config

__all__ = ["ModelRefused", "ResolvedModel", "resolve"]

WEIGHT_SPACE_ADAPTERS = frozenset({"LORA", "LOHA", "LOKR", "IA3", "OFT", "VERA"})
"""PEFT types that change weights only. Prompt-learning types add tokens and would shift every position."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""Files of which a folder has one if it has a tokenizer."""
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class ResolvedModel:
    """A model whose files are local, checked and pinned to one content."""

    source: str
    id: str
    revision: str
    """Commit of a hub model, content hash of a local one."""
    path: Path
    dtype: str
    adapter_path: Path | None = None
    adapter_revision: str | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What the owner of the job should know of how the files were found."""

    def fingerprint(self) -> str:
        """Return the identity of what will be computed with, whatever the model is called: hex, 64 characters."""
        identity = [self.revision, self.adapter_revision, self.dtype]
        # Named only where it is not the model's own, so that scores of models without such an adapter keep their name.
        own = [part for part in (self.tokenizer_source, self.template_source) if part != "model"]
        return hashlib.sha256(
            json.dumps(identity + (["prompts by the adapter", *own] if own else [])).encode()
        ).hexdigest()

    @property
    def tokenizer_path(self) -> Path:
        """Folder of the tokenizer: the adapter's where it brings one, since it was trained with that."""
        return self.path if self.adapter_path is None or self.tokenizer_source == "model" else self.adapter_path

    @property
    def tokenizer_source(self) -> str:
        """`adapter` where the adapter's folder has a tokenizer, else `model`."""
        return "adapter" if _has(self.adapter_path, TOKENIZER_FILES) else "model"

    @property
    def template_path(self) -> Path | None:
        """The adapter's own chat template, where it brings one without a tokenizer."""
        if self.adapter_path is None or self.tokenizer_source == "adapter":
            return None
        return next((path for name in TEMPLATE_FILES if (path := self.adapter_path / name).is_file()), None)

    @property
    def template_source(self) -> str:
        """`adapter` where the chat template lies in the adapter's folder, else `model`."""
        return "adapter" if self.tokenizer_source == "adapter" or self.template_path is not None else "model"


def resolve(
    reference: schemas.ModelReference, *, models_root: Path | None, allowed: Sequence[str] = ("*",)
) -> ResolvedModel:
    """Check a model reference and make its files local (docs/method.md, section 1).

    `models_root` is the only folder that local ids may lie in. `allowed` are patterns for hub ids, such as
    `HuggingFaceTB/*`. Raises `ModelRefused` with the code `model_not_allowed`, `model_not_found`, `model_unusable`,
    `unsafe_model` or `adapter_mismatch`.
    """
    path, revision, warnings = _fetch(reference, models_root, allowed)
    _check_model(path, reference.id)
    if reference.source == "local":
        revision = _local_revision(path, reference)
    adapter = reference.adapter
    if adapter is None:
        return ResolvedModel(reference.source, reference.id, revision, path, reference.dtype, warnings=warnings)
    adapter_path, adapter_revision, more = _fetch(adapter, models_root, allowed)
    _check_adapter(adapter_path, adapter.id)
    if adapter.source == "local":
        adapter_revision = _local_revision(adapter_path, adapter)
    return ResolvedModel(
        reference.source,
        reference.id,
        revision,
        path,
        reference.dtype,
        adapter_path,
        adapter_revision,
        warnings + more,
    )


def _fetch(
    reference: schemas.ModelReference | schemas.AdapterReference, models_root: Path | None, allowed: Sequence[str]
) -> tuple[Path, str, tuple[str, ...]]:
    """Local folder of a reference, its commit (empty for a local one, which is pinned by content later), warnings."""
    if reference.source == "local":
        return _local_folder(reference, models_root), "", ()
    if not any(fnmatchcase(reference.id, pattern) for pattern in allowed):
        raise ModelRefused(
            "model_not_allowed",
            f"The hub id {reference.id!r} is not on this service's allow-list ({', '.join(allowed) or 'empty'}). "
            "Choose an allowed model, or ask the operator to add this one.",
        )

    def check_names(names: Sequence[str]) -> None:
        _refuse_code(names, reference.id)
        if not any(name.endswith(".safetensors") for name in names):
            raise _no_safetensors(reference.id, names)

    found = fetch_snapshot(reference.id, reference.revision, check_names=check_names)
    return found.path, found.commit, () if found.warning is None else (found.warning,)


def _local_revision(path: Path, reference: schemas.ModelReference | schemas.AdapterReference) -> str:
    """The content hash of a local folder, which a given revision has to match."""
    revision = _content_hash(path)
    if reference.revision not in (None, revision):
        raise ModelRefused(
            "model_not_found",
            f"The local folder {reference.id!r} has content {revision}, not the revision {reference.revision!r} asked "
            "for: it was changed meanwhile, or differs between machines. Leave the revision out to take what is there.",
        )
    return revision


def _local_folder(reference: schemas.ModelReference | schemas.AdapterReference, models_root: Path | None) -> Path:
    if models_root is None:
        raise ModelRefused(
            "model_not_allowed",
            f"{reference.id!r} is a local model, and this service has no models folder. Name a hub model instead.",
        )
    root = models_root.expanduser().resolve()
    path = root.joinpath(reference.id)
    if ".." in path.parts or not path.is_relative_to(root):
        raise ModelRefused("model_not_allowed", f"{reference.id!r} leads out of the models folder.")
    steps = [path, *path.parents]
    if any(step.is_symlink() for step in steps[: steps.index(root)]):
        raise ModelRefused(
            "model_not_allowed", f"{reference.id!r} goes through a symbolic link; put the model's own folder there."
        )
    if not path.is_dir():
        raise ModelRefused("model_not_found", f"There is no folder {reference.id!r} in the models folder.")
    for file in _everything(path):
        if file.is_symlink():
            raise ModelRefused(
                "unsafe_model", f"{reference.id}/{file.name} is a symbolic link; copy the file itself there."
            )
    _refuse_code((file.name for file in _everything(path)), reference.id)
    return path


def _check_model(path: Path, name: str) -> None:
    check_files(path, name)
    config = read_json(path / "config.json", name)
    if config is None:
        raise ModelRefused("model_not_found", f"{name!r} has no config.json: it is not a transformers model.")
    _refuse_auto_map(path, name)
    if not any(path.glob("*.safetensors")):
        raise _no_safetensors(name, [file.name for file in path.iterdir()])
    check_config(config, read_tensors(_weight_files(path, name), name), name)


def _weight_files(path: Path, name: str) -> list[Path]:
    """The safetensors files that transformers will read: those of the index where there is one."""
    index = read_json(path / "model.safetensors.index.json", name)
    present = {file.name: file for file in sorted(path.glob("*.safetensors"))}
    if index is None or "model.safetensors" in present:
        return [present["model.safetensors"]] if "model.safetensors" in present else list(present.values())
    listed = index.get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise ModelRefused("model_unusable", f"{name}/model.safetensors.index.json has no object called weight_map.")
    missing = sorted(set(listed.values()) - set(present))
    if missing:
        raise ModelRefused(
            "model_not_found",
            f"{name!r} lists weights in {missing[0]!r}, which is not in its folder ({len(missing)} of "
            f"{len(set(listed.values()))} files are missing). Fetch it again.",
        )
    return [present[file] for file in sorted(set(listed.values()))]


def _refuse_auto_map(path: Path, name: str) -> None:
    for file in sorted(path.glob("*.json")):
        # Of tokenizer.json only its own library makes sense, and it is large.
        content = None if file.name == "tokenizer.json" else read_json(file, name)
        if content is not None and _mentions_auto_map(content):
            raise ModelRefused(
                "unsafe_model",
                f"{name}/{file.name} has an 'auto_map', which makes loading run the model's own Python code. "
                "Only architectures that transformers ships are accepted.",
            )


def _check_adapter(path: Path, name: str) -> None:
    check_files(path, name)
    config = read_json(path / "adapter_config.json", name)
    if config is None:
        raise ModelRefused("model_not_found", f"{name!r} has no adapter_config.json: it is not a PEFT adapter.")
    if not (path / "adapter_model.safetensors").is_file():
        raise ModelRefused(
            "unsafe_model", f"{name!r} has no adapter_model.safetensors; save the adapter with safe serialization."
        )
    if config.get("peft_type") not in WEIGHT_SPACE_ADAPTERS:
        raise ModelRefused(
            "adapter_mismatch",
            f"{name!r} is a {config.get('peft_type')!r} adapter; those that change weights are accepted: "
            f"{', '.join(sorted(WEIGHT_SPACE_ADAPTERS))}.",
        )
    # With a Megatron configuration PEFT imports whatever module the adapter names.
    if config.get("megatron_config") or _mentions_auto_map(config):
        raise ModelRefused("unsafe_model", f"The configuration of adapter {name!r} asks for code to be imported.")
    _refuse_auto_map(path, name)
    check_adapter_config(config, name)
    read_tensors([path / "adapter_model.safetensors"], name)


def _refuse_code(names: Iterable[str], repo: str) -> None:
    code = sorted(name for name in names if name.endswith(".py"))
    if code:
        raise ModelRefused(
            "unsafe_model",
            f"{repo!r} ships Python code ({code[0]}); only models without code of their own are accepted.",
        )


def _no_safetensors(name: str, files: Sequence[str]) -> ModelRefused:
    if any(file.endswith(".gguf") for file in files):
        hint = "it has GGUF weights: convert them once with minirec.policy.convert.convert_gguf"
        return ModelRefused("model_not_found", f"{name!r} has no *.safetensors; {hint}.")
    pickled = any(file.endswith(PICKLED) for file in files)
    kind = "pickled weights, which can run code when read" if pickled else "no weights in its folder"
    return ModelRefused(
        "unsafe_model" if pickled else "model_not_found", f"{name!r} has {kind}; *.safetensors is needed."
    )


def _mentions_auto_map(content: dict[str, Any]) -> bool:
    nested = (value for value in content.values() if isinstance(value, dict))
    return "auto_map" in content or any(_mentions_auto_map(value) for value in nested)


def _has(path: Path | None, names: Iterable[str]) -> bool:
    return path is not None and any((path / name).is_file() for name in names)


def _everything(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


def _content_hash(path: Path) -> str:
    """SHA-256 over names and contents of the files that make the model, hex."""
    total = hashlib.sha256()
    for file in model_files(path):
        found = file.stat()
        digest = _file_hash(file, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        total.update(f"{file.relative_to(path).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _file_hash(path: Path, inode: int, size: int, modified: int, changed: int) -> str:
    """SHA-256 of a file; kept as long as its size and times stay, since weights take seconds to read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
