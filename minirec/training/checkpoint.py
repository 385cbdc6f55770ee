"""A training run on disk: adapter, optimizer, catalogue and metrics, as safetensors and JSON.

A checkpoint is a folder `checkpoint-NNNNNN`, N updates into the run, or `checkpoint-NNNNNN-evaluated` once the policy
was evaluated there. It appears whole or not at all, and the one before it goes only afterwards: a process killed at any
moment leaves one to resume from. Random numbers are not in it, since those of an update follow from the seed and its
number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minirec.policy.policy import Policy
from minirec.training.lora import load_adapter, save_adapter

FORMAT = 3
WHOLE = f"checkpoint-{'[0-9]' * 6}*"
"""Names of complete checkpoints: the Hugging Face trainer's own, which it fills in place, have fewer digits."""


@dataclass
class Progress:
    """How far a run has come."""

    update: int = 0
    """Updates done."""
    catalogue: Tensor | None = None
    """(M, d) unit vectors of the items as of the last refresh."""
    refreshed: int | None = None
    """Updates done at the last refresh."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """One entry per update."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """One entry per evaluation on validation samples."""
    best: Best | None = None
    """The best adapter so far, where any was evaluated."""


@dataclass(frozen=True)
class Best:
    """An adapter that did best on validation samples."""

    update: int
    """Updates that made it."""
    score: float
    """Its NDCG@10, or mean reward of text."""
    weights: Mapping[str, Tensor]
    """On the CPU."""


def latest_checkpoint(out: Path) -> Path | None:
    """Return the checkpoint that a run in this folder resumes from."""
    return max(out.glob(WHOLE), default=None)


def save_checkpoint(
    out: Path, policy: Policy, optimizer: torch.optim.Optimizer, progress: Progress, run: Mapping[str, Any]
) -> Path:
    """Write a checkpoint, then remove the older ones.

    Args:
        out: The folder of the run's checkpoints.
        policy: The model whose adapter is saved.
        optimizer: Its state is saved.
        progress: How far the run is, and its best update so far.
        run: What must be the same for a run to resume from here: see `load_checkpoint`.

    Returns:
        The checkpoint's folder, which appears under its name only when it is whole.
    """
    evaluated = bool(progress.evaluations) and progress.evaluations[-1]["update"] == progress.update
    target = out / f"checkpoint-{progress.update:06d}{'-evaluated' if evaluated else ''}"
    scratch = out / f".{target.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    save_adapter(policy, scratch)
    save_file(_optimizer_tensors(optimizer), scratch / "optimizer.safetensors")
    if progress.catalogue is not None:
        save_file({"catalogue": progress.catalogue.cpu()}, scratch / "catalogue.safetensors")
    write_progress(scratch, progress, run)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(scratch, target)
    remove_older(target)
    return target


def remove_older(checkpoint: Path) -> None:
    """Remove the other checkpoints of a run."""
    for other in checkpoint.parent.glob(WHOLE):
        if other != checkpoint:
            shutil.rmtree(other, ignore_errors=True)


def load_checkpoint(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, run: Mapping[str, Any]) -> Progress:
    """Put a run back to where it was saved. Raises ValueError for a checkpoint of another run, naming what differs."""
    progress = read_progress(folder, run)
    load_adapter(policy, folder)
    _load_optimizer(optimizer, load_file(folder / "optimizer.safetensors"))
    catalogue = folder / "catalogue.safetensors"
    if catalogue.exists():
        progress.catalogue = load_file(catalogue)["catalogue"].to(policy.device)
    return progress


def write_progress(folder: Path, progress: Progress, run: Mapping[str, Any]) -> None:
    """Write how far a run has come, and its best adapter, into a checkpoint's folder."""
    best = progress.best
    if best is not None:
        save_file(dict(best.weights), folder / "best.safetensors")
    state = {
        "format": FORMAT,
        "run": dict(run),
        "update": progress.update,
        "refreshed": progress.refreshed,
        "metrics": progress.metrics,
        "evaluations": progress.evaluations,
        "best": None if best is None else {"update": best.update, "score": best.score},
    }
    (folder / "state.json").write_text(json.dumps(state))


def read_progress(folder: Path, run: Mapping[str, Any]) -> Progress:
    """Return what `write_progress` wrote. Raises ValueError for a checkpoint of another run, naming what differs."""
    state = json.loads((folder / "state.json").read_text())
    if state["format"] != FORMAT:
        raise ValueError(f"{folder.name} has format {state['format']}, this version reads {FORMAT}: train anew")
    different = sorted(name for name in {*run, *state["run"]} if run.get(name) != state["run"].get(name))
    if different:
        raise ValueError(
            f"{folder.name} belongs to a run with other {', '.join(different)}; resume with the same, or train in an "
            "empty folder"
        )
    best = state["best"] and Best(**state["best"], weights=load_file(folder / "best.safetensors"))
    return Progress(
        update=state["update"],
        refreshed=state["refreshed"],
        metrics=state["metrics"],
        evaluations=state["evaluations"],
        best=best,
    )


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Per parameter, by its number, what the optimizer remembers of it."""
    state = optimizer.state_dict()["state"]
    return {
        f"{parameter}.{name}": tensor.detach().cpu().contiguous()
        for parameter, entries in state.items()
        for name, tensor in entries.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        parameter, name = key.split(".")
        state.setdefault(int(parameter), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
