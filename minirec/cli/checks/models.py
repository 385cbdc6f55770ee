"""Models: the Hugging Face cache and hub, and the model folders that are there already."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
from rich.filesize import decimal

from minirec.cli.checks.finding import Finding, ok, warning
from minirec.cli.checks.machine import disk
from minirec.cli.data_folder import DataFolder
from minirec.client import ConfigurationError
from minirec.client.local import chosen_stack

TRUE = ("1", "on", "yes", "true")
HUB = "https://huggingface.co"
HUB_SECONDS = 4.0
DEPTH = 3
"""How many folders deep local models are looked for."""
SHOWN = 8


def models(base_url: str | None) -> Iterator[Finding]:
    """Look at the cache, the hub and the models of this machine."""
    cache = cache_folder()
    cached = cached_models(cache)
    yield disk("hugging face cache", cache)
    yield hub(bool(cached))
    yield listed("models in the cache", cached, f"none in {cache}")
    folder = models_folder(base_url)
    local = local_models(folder)
    yield listed("local models", local, f"none in {folder}; folders of models go there, or are named by --models-dir")


def cache_folder() -> Path:
    """Return the folder in which huggingface_hub keeps repositories, by the variables that it reads itself."""
    environ = os.environ
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"]).expanduser()
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def offline() -> bool:
    """Return whether huggingface_hub was told to ask nobody."""
    return any(os.environ.get(name, "").lower() in TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def hub(cached: bool) -> Finding:
    """Look whether models can be fetched."""
    if offline():
        found = "offline mode (HF_HUB_OFFLINE): models come from the cache alone"
        if cached:
            return ok("hugging face hub", found, offline=True, reached=False)
        advice = "Unset HF_HUB_OFFLINE to fetch models, or take a folder of this machine."
        return warning("hugging face hub", f"{found}, and it is empty", advice, offline=True, reached=False)
    address = os.environ.get("HF_ENDPOINT") or HUB
    facts = {"address": address, "offline": False, "token": has_token()}
    fault = why_not_reached(address)
    token = "a token is there" if facts["token"] else "no token, which gated models want"
    if fault is None:
        return ok("hugging face hub", f"{address} answers; {token}", reached=True, **facts)
    advice = "Models by hub id work only where they are cached. Take a local folder, or mend network or proxy."
    return warning("hugging face hub", f"{address} is not reached: {fault}", advice, reached=False, **facts)


def has_token() -> bool:
    """Return whether huggingface_hub finds a token."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    return bool(os.environ.get("HF_TOKEN")) or file.exists()


def why_not_reached(address: str) -> str | None:
    """Return why a server does not answer, null where it does. The system's look-up of names has no time limit."""
    said: list[str | None] = []

    def ask() -> None:
        try:
            httpx2.head(address, timeout=HUB_SECONDS, follow_redirects=True)
            said.append(None)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            said.append(str(error) or type(error).__name__)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * HUB_SECONDS)
    return said[0] if said else "no answer"


def cached_models(cache: Path) -> dict[str, int]:
    """Return the models in the cache that have weights, and their bytes."""
    found = {}
    for repository in sorted(cache.glob("models--*--*")):
        snapshots = [folder for folder in repository.glob("snapshots/*") if has_weights(folder)]
        if snapshots:
            found[repository.name.removeprefix("models--").replace("--", "/", 1)] = size_of(snapshots[-1])
    return found


def models_folder(base_url: str | None) -> Path:
    """Return where local models are looked for: by the stack that runs, else by the setting."""
    try:
        stack = chosen_stack(base_url)
    except ConfigurationError:
        stack = None
    if stack is not None:
        return Path(stack.models_dir)
    return Path(os.environ.get("MINIREC_MODELS_DIR") or DataFolder.default().models)


def local_models(root: Path, depth: int = DEPTH) -> dict[str, int]:
    """Return the folders below `root` that hold a model or an adapter, and their bytes."""
    found: dict[str, int] = {}

    def look(folder: Path, left: int) -> None:
        if has_weights(folder):
            found[folder.relative_to(root).as_posix()] = size_of(folder)
        elif left:
            for each in subfolders(folder):
                look(each, left - 1)

    for each in subfolders(root):
        look(each, depth - 1)
    return found


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that can be read, hidden ones left out."""
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError:
        return []


def has_weights(folder: Path) -> bool:
    """Return whether a folder is one of a model or an adapter."""
    named = (folder / "config.json").exists() or (folder / "adapter_config.json").exists()
    return named and any(folder.glob("*.safetensors"))


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder, those behind links included."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def listed(name: str, found: dict[str, int], none: str) -> Finding:
    """List models."""
    if not found:
        return ok(name, none, models={})
    shown = [f"{model} ({decimal(size)})" for model, size in list(found.items())[:SHOWN]]
    rest = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ok(name, ", ".join(shown + rest), models=found)
