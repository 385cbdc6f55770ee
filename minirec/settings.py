"""Settings of a deployment, read once per process from `MINIREC_*` environment variables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from minirec import redis_url
from minirec.engines import checked_engine_url


def data_home() -> Path:
    """Return the folder in which the embedded stack keeps everything by default."""
    return Path.home() / ".local" / "share" / "minirec"


class Settings(BaseSettings):
    """Settings shared by the service, the workers and the janitor; every field is `MINIREC_<FIELD>`."""

    # Compose passes a variable that nobody set as an empty text.
    model_config = SettingsConfigDict(
        env_prefix="MINIREC_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    redis_url: str = "redis://127.0.0.1:6379/0"
    """State, scores and events. Run it with an append-only file and `noeviction`. See minirec/redis_url.py for TLS."""
    broker_url: str | None = None
    """Celery's broker; the state's Redis unless given. It may lose everything: the janitor rings again."""
    blob_url: str = Field(default_factory=lambda: (data_home() / "blobs").as_uri())
    """fsspec URL for datasets, embeddings and vectors: a folder, or `s3://bucket/prefix` for a fleet."""
    models_dir: Path = Field(default_factory=lambda: data_home() / "models")
    """The only folder that `local` model references may point into."""
    allowed_models: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Patterns of hub ids that may be loaded, comma-separated, e.g. `Qwen/*,google/gemma-2-*`."""
    engine_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses of inference servers that selections may name, or what they begin with, comma-separated, e.g.
    `http://vllm:8000`; none: no servers."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """What a model's dtype `auto` means; unset, what the workers of the gpu queue report: bfloat16 on CUDA (float32
    where the GPU has none), float32 on CPU."""
    api_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Bearer keys of the operator, comma-separated: they may do everything. None, and no key was ever created: no
    authentication, and the service answers its own machine only."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Host names of the service, comma-separated, beside localhost; none: any, where there are keys."""
    max_upload_bytes: int = 4 * 1024**3
    """Largest upload."""
    max_client_requests: Annotated[int, Field(ge=1)] = 1000
    """How many requests of one key each process answers at the same time, streams and waiting ones included."""
    webhook_private_addresses: bool = False
    """Whether webhooks may name http addresses and those of private networks, this machine among them."""
    lease_seconds: float = 60.0
    """How long a worker may be silent before its shard is given to another."""
    janitor_seconds: float = 5.0
    """Pause between two sweeps of the janitor."""
    retention_days: Annotated[float, Field(gt=0)] | None = None
    """Days after which a finished job is deleted, with all that only it needs; null keeps jobs until a client deletes
    them."""
    blob_cache_bytes: Annotated[int, Field(gt=0)] = 20 * 1024**3
    """How much of a remote blob store is copied to this machine; the longest unused copies go first."""
    max_attempts: int = 3
    """How often a shard may fail, without having got further in between, before its job fails."""
    max_setbacks: Annotated[int, Field(ge=1)] = 10
    """How many workers a shard may lose one after the other at the same place, or how often storage may fail it there,
    before its job fails."""
    shard_size: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    """Samples per scoring shard."""
    micro_batch: Annotated[int, Field(ge=8, multiple_of=8)] = 16
    """Samples per checkpoint within a shard: what a lost worker costs at most."""
    catalogue_shard_size: Annotated[int, Field(ge=1)] = 256
    """Items per shard while the catalogue is embedded."""
    unit_time_limit: float = 3600.0
    """Seconds after which a shard that hangs is killed; it is then tried again like a lost one."""
    torch_threads: int | None = None
    """Threads per worker child; null leaves it to torch."""
    train_processes: Annotated[int, Field(ge=1)] = 1
    """Processes that share a training run, one per GPU of the worker; 1 trains in the worker's own."""
    heartbeat_file: Path | None = None
    """Touched every few seconds by workers and the janitor while they are alive, for health checks."""
    log_level: str = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        return None if value is None else redis_url.checked(value)

    @field_validator("engine_urls")
    @classmethod
    def _plain(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked_engine_url, value))

    @field_validator("dtype", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # Compose passes a variable that is not set as an empty one.
        return None if value in ("", "auto") else value

    @field_validator("allowed_models", "engine_urls", "api_keys", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process's settings, read at the first call."""
    return Settings()
