"""From a model reference, which is data from outside, to checked files in a local folder. Imports no torch.

Nothing that could run code is accepted: no `auto_map`, no Python files, no pickled weights; safetensors only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import api_schemas.models as schemas

HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model", "*.spm"]
"""What is fetched of a hub repository: weights, configurations and tokenizer files."""
WEIGHT_SPACE_ADAPTERS = frozenset({"LORA", "LOHA", "LOKR", "IA3", "OFT", "VERA"})
"""PEFT types that change weights only. Prompt-learning types add tokens and would shift every position."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class ModelRefused(ValueError):
    """A model reference that cannot or must not be loaded; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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

    def fingerprint(self) -> str:
        """Identity of what will be computed with, whatever the model is called: hex, 64 characters."""
        identity = json.dumps([self.revision, self.adapter_revision, self.dtype])
        return hashlib.sha256(identity.encode()).hexdigest()


def resolve(
    reference: schemas.ModelReference, *, models_root: Path | None, allowed: Sequence[str] = ("*",)
) -> ResolvedModel:
    """Check a model reference and make its files local (docs/method.md, section 1).

    `models_root` is the only folder that local ids may lie in. `allowed` are patterns for hub ids, such as
    `HuggingFaceTB/*`. Raises `ModelRefused` with the code `model_not_allowed`, `model_not_found`, `unsafe_model` or
    `adapter_mismatch`.
    """
    path, revision = _fetch(reference, models_root, allowed)
    _check_model(path, reference.id)
    if reference.source == "local":
        revision = _local_revision(path, reference)
    adapter = reference.adapter
    if adapter is None:
        return ResolvedModel(reference.source, reference.id, revision, path, reference.dtype)
    adapter_path, adapter_revision = _fetch(adapter, models_root, allowed)
    _check_adapter(adapter_path, adapter.id)
    if adapter.source == "local":
        adapter_revision = _local_revision(adapter_path, adapter)
    return ResolvedModel(
        reference.source, reference.id, revision, path, reference.dtype, adapter_path, adapter_revision
    )


def _fetch(
    reference: schemas.ModelReference | schemas.AdapterReference, models_root: Path | None, allowed: Sequence[str]
) -> tuple[Path, str]:
    """Local folder of a reference, and its commit (empty for a local one, which is pinned by content later)."""
    if reference.source == "local":
        return _local_folder(reference, models_root), ""
    if not any(fnmatchcase(reference.id, pattern) for pattern in allowed):
        raise ModelRefused(
            "model_not_allowed",
            f"The hub id {reference.id!r} is not on this service's allow-list ({', '.join(allowed) or 'empty'}). "
            "Choose an allowed model, or ask the operator to add this one.",
        )
    return _hub_snapshot(reference.id, reference.revision)


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
    for file in _files(path):
        if file.is_symlink():
            raise ModelRefused(
                "unsafe_model", f"{reference.id}/{file.name} is a symbolic link; copy the file itself there."
            )
    _refuse_code((file.name for file in _files(path)), reference.id)
    return path


def _hub_snapshot(repo_id: str, revision: str | None) -> tuple[Path, str]:
    """Folder and commit of a hub repository; without a reachable hub, of the copy fetched earlier."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repo_id!r} at {revision!r}" if revision else repr(repo_id)
    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except GatedRepoError as error:
        raise ModelRefused(
            "model_not_allowed", f"{where} is gated on the hub: accept its terms and give the worker a token."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelRefused("model_not_found", f"The hub has no model {where}, or it is private.") from error
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        try:
            path = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            raise ModelRefused(
                "model_not_found",
                f"The hub cannot be reached ({type(error).__name__}) and {where} was not fetched before. "
                "Use a local model, or prefetch this one.",
            ) from error
        return path, path.name
    if info.sha is None:
        raise ModelRefused("model_not_found", f"The hub names no commit for {where}.")
    names = [sibling.rfilename for sibling in info.siblings or []]
    _refuse_code(names, repo_id)
    if not any(name.endswith(".safetensors") for name in names):
        raise _no_safetensors(repo_id, names)
    return Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=HUB_FILES)), info.sha


def _check_model(path: Path, name: str) -> None:
    config = _read_json(path / "config.json", name)
    if config is None:
        raise ModelRefused("model_not_found", f"{name!r} has no config.json: it is not a transformers model.")
    for file in sorted(path.glob("*.json")):
        content = config if file.name == "config.json" else _read_json(file, name)
        if isinstance(content, dict) and _mentions_auto_map(content):
            raise ModelRefused(
                "unsafe_model",
                f"{name}/{file.name} has an 'auto_map', which makes loading run the model's own Python code. "
                "Only architectures that transformers ships are accepted.",
            )
    if not any(path.glob("*.safetensors")):
        raise _no_safetensors(name, [file.name for file in path.iterdir()])
    index = _read_json(path / "model.safetensors.index.json", name) or {}
    present = {file.name for file in path.glob("*.safetensors")}
    missing = sorted(set(index.get("weight_map", {}).values()) - present)
    if missing:
        raise ModelRefused("model_not_found", f"{name!r} lists weights in {missing[0]!r}, which is not in its folder.")


def _check_adapter(path: Path, name: str) -> None:
    config = _read_json(path / "adapter_config.json", name)
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


def _read_json(path: Path, name: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelRefused("model_not_found", f"{name}/{path.name} is not valid JSON: {error}.") from error
    return content if isinstance(content, dict) else {}


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


def _content_hash(path: Path) -> str:
    """SHA-256 over names and contents of the files that make the model, hex."""
    total = hashlib.sha256()
    for file in _files(path):
        if file.is_file() and any(fnmatchcase(file.name, pattern) for pattern in HUB_FILES):
            stat = file.stat()
            digest = _file_hash(file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            total.update(f"{file.relative_to(path).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _file_hash(path: Path, inode: int, size: int, modified: int, changed: int) -> str:
    """SHA-256 of a file; kept as long as its size and times stay, since weights take seconds to read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
