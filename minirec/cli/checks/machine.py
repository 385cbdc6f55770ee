"""The machine: CPU and threads, GPUs, memory, disk, and what would run where."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from minirec.cli.checks.finding import Finding, ok, problem, warning
from minirec.cli.data_folder import DataFolder

GIB = 1024**3
LITTLE_DISK, NO_DISK = 10 * GIB, 1 * GIB
LITTLE_MEMORY, NO_MEMORY = 4 * GIB, 1 * GIB
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine() -> Iterator[Finding]:
    """Look at the machine."""
    yield cpu()
    yield memory()
    yield from disks()
    if importlib.util.find_spec("torch") is not None:
        yield from devices()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> Finding:
    """Look at cores and how busy they are."""
    there, load = cores(), os.getloadavg()[0]
    threads = os.environ.get("MINIREC_TORCH_THREADS") or os.environ.get("OMP_NUM_THREADS")
    found = f"{there} cores, load {load:.1f}, {f'{threads} threads as set' if threads else 'threads left to torch'}"
    facts = {"cores": there, "load": round(load, 2), "threads": threads}
    if load > 1.5 * there:
        advice = "Other processes use the cores: what runs here takes longer than it has to."
        return warning("cpu", found, advice, **facts)
    return ok("cpu", found, **facts)


def memory() -> Finding:
    """Look at memory: the machine's, or the part of it that this process may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = available_memory()
    limit = cgroup_limit()
    if limit is not None and limit < total:
        total, free = limit, min(free, limit) if free is not None else None
    found = f"{decimal(total)}" + (f", {decimal(free)} available" if free is not None else "")
    facts = {"total_bytes": total, "available_bytes": free}
    usable = total if free is None else free
    if usable < NO_MEMORY:
        return problem("memory", found, "Models do not fit: end other processes, or use a larger machine.", **facts)
    if usable < LITTLE_MEMORY:
        advice = "Enough for models of up to about 0.5 billion parameters; end other processes for larger ones."
        return warning("memory", found, advice, **facts)
    return ok("memory", found, **facts)


def available_memory() -> int | None:
    """Return the bytes that a process could still take, null where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def cgroup_limit() -> int | None:
    """Return the memory that a container may use, null where it has no limit."""
    try:
        return int(CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # "max" is no limit
        return None


def disks() -> Iterator[Finding]:
    """Look at the folders that fill up: data, temporary files."""
    for name, folder in (("data folder", DataFolder.default().path), ("temporary files", Path(tempfile.gettempdir()))):
        yield disk(name, folder)


def disk(name: str, folder: Path) -> Finding:
    """Look at the disk of a folder, which need not exist yet."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    found = f"{folder}, {decimal(free)} free"
    facts = {"path": str(folder), "free_bytes": free}
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(name, f"{found}, not writable", f"Give yourself access to {there}, or name another.", **facts)
    if free < NO_DISK:
        return problem(name, found, "Free some space, or name a folder on another disk.", **facts)
    if free < LITTLE_DISK:
        return warning(name, found, "Enough for small pools; models and scores of large ones take more.", **facts)
    return ok(name, found, **facts)


def devices() -> Iterator[Finding]:
    """Look at what torch sees."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        import torch

        cuda = torch.cuda.is_available()
    if cuda:
        for index in range(torch.cuda.device_count()):
            yield gpu(index)
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        why = next((str(each.message).splitlines()[0] for each in said), "torch does not reach it")
        advice = "Compare the driver (nvidia-smi) with the CUDA version of torch; install the torch build that fits."
        yield warning("cuda", f"there is an NVIDIA driver, and no GPU for torch: {why}", advice)
    elif shutil.which("nvidia-smi"):
        advice = "Install a build of torch with CUDA: https://pytorch.org/get-started/locally"
        yield warning(
            "cuda", f"torch {torch.__version__} is a build for the CPU, and there is an NVIDIA driver", advice
        )
    else:
        yield ok("cuda", "no GPU; all runs on the CPU", available=False)
    if torch.backends.mps.is_available():
        yield ok("mps", "there is one; it is not used, models run on the CPU", available=True)
    yield where_it_runs(torch.get_num_threads())


def gpu(index: int) -> Finding:
    """Look at a GPU."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    facts = {"name": properties.name, "memory_bytes": properties.total_memory, "index": index}
    try:
        free, _ = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        words = str(error).splitlines()[0]
        return problem("cuda", f"{properties.name}: {words}", "See nvidia-smi for who uses it.", **facts)
    found = f"{properties.name}, {decimal(free)} of {decimal(properties.total_memory)} free, CUDA {torch.version.cuda}"
    facts["free_bytes"] = free
    if free < properties.total_memory / 2:
        return warning("cuda", found, "Another process uses most of its memory: nvidia-smi says which.", **facts)
    return ok("cuda", found, **facts)


def where_it_runs(threads: int) -> Finding:
    """Say on what models would run if `minirec up` were started here, in which dtype and batches."""
    from pydantic import ValidationError

    from minirec.policy.devices import auto_dtype, device_type, runs
    from minirec.settings import Settings

    try:
        config = Settings()
    except ValidationError:
        config = Settings.model_construct()  # what is wrong with them is said elsewhere
    dtype, device = config.dtype or auto_dtype(), device_type()
    where = "GPU" if device == "cuda" else f"CPU, {config.torch_threads or threads} threads"
    found = (
        f"scoring, training and evaluation on the {where}, in {dtype}; {config.micro_batch} samples with all their "
        "rollouts at once, fewer where memory runs out; choosing on the CPU"
    )
    facts = {"device": device, "dtype": dtype, "samples_at_once": config.micro_batch, "threads": threads}
    if not runs(dtype):
        return problem(
            "what runs where", found, f"This device cannot compute in {dtype}: unset MINIREC_DTYPE.", **facts
        )
    return ok("what runs where", found, **facts)
