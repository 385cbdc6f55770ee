"""What a job's model is computed in: settled before anything is named by it."""

from __future__ import annotations

from dataclasses import dataclass

from minirec.api_schemas import ModelReference
from minirec.settings import Settings
from minirec.specs import DeviceType, DType
from minirec.store.devices import DeviceRecord


@dataclass(frozen=True)
class Computing:
    """A dtype, and where it is computed in."""

    dtype: DType
    device: DeviceType | None
    """What the workers of the gpu queue have reported; None where none has yet."""
    only_on: DeviceType | None
    """The kind of device that the dtype was chosen for; None where somebody named the dtype."""


def computing_for(
    reference: ModelReference, settings: Settings, devices: DeviceRecord, *, on_gpu_queue: bool
) -> Computing | None:
    """Return what a model is computed in: as it says itself, else as `MINIREC_DTYPE`, else as the workers report.

    None where that takes a report that is missing: `on_gpu_queue` this worker makes it.
    """
    if on_gpu_queue:
        from minirec.worker.devices import this_device  # torch, which workers of the cpu queue do without

        devices.report(this_device())
    device = devices.last()
    named = settings.dtype if reference.dtype == "auto" else reference.dtype
    if named is not None:
        return Computing(named, None if device is None else device.type, None)
    return None if device is None else Computing(device.dtype, device.type, device.type)
