"""Workers, as `GET /v1/workers` lists them."""

from __future__ import annotations

from typing import Literal

from minirec.api_schemas.common import Response


class Worker(Response):
    """A process that does shards."""

    object: Literal["worker"] = "worker"
    """Always `worker`."""
    name: str
    """Host and process id, as in the messages about lost shards."""
    queues: list[str]
    """The queues that it takes shards from: `cpu`, `gpu`, `train`."""
    version: str
    """The release that runs there."""
    started_at: float
    """Seconds since 1970, by the worker's own clock."""
    seen_at: float = 0.0
    """When it reported last, in seconds since 1970."""
    doing: str | None = None
    """The kind of shard in hand; null when it waits for one."""
    gpu: str | None = None
    """Name of its GPU; null where it computes on the CPU or has not needed the GPU yet."""
    gpu_memory_used_bytes: int | None = None
    """Memory in use on that GPU, that of other processes included."""
    gpu_memory_bytes: int | None = None
    """Memory of that GPU."""
