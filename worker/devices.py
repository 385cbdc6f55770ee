"""What this worker computes on, and whether it may do what was planned for a device of some kind."""

from __future__ import annotations

import torch

from minirec.policy.devices import auto_dtype, device_type, runs
from minirec.specs import PinnedModel
from minirec.store.devices import Device
from minirec.worker.work import UnitError


def this_device() -> Device:
    """Return what models run on in this process, and what the dtype `auto` means there."""
    return Device(device_type(), auto_dtype())


def require_device(model: PinnedModel) -> None:
    """Raise UnitError where this worker must not or cannot compute with a model."""
    device = this_device()
    if model.device not in (None, device.type):
        raise UnitError(
            "wrong_device",
            f"the job's dtype 'auto' became {model.dtype} for workers on {model.device}, and this worker runs on "
            f"{device.type}: its numbers would differ. Let one kind of worker serve the queues gpu and train, or set "
            "MINIREC_DTYPE (or the model's dtype) to what all of them should compute in, and start the job anew",
            retryable=True,
        )
    if not runs(model.dtype):
        raise UnitError(
            "dtype_unsupported",
            f"{_device_name()} cannot compute in {model.dtype}: name another dtype with the model, or set "
            "MINIREC_DTYPE, and start the job anew",
            retryable=True,
        )


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "this CPU"
