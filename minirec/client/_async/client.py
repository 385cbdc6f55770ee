"""`AsyncMiniRec`, the client: reaches a MiniRec service over HTTP."""

from __future__ import annotations

import os
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast

import httpx2

from minirec.api_schemas import JobKind, Version, kind_of
from minirec.api_schemas.job_kinds import JobT
from minirec.client._async.datasets import AsyncDatasets
from minirec.client._async.evaluations import AsyncEvaluations
from minirec.client._async.jobs import AsyncJobs
from minirec.client._async.keys import AsyncKeys
from minirec.client._async.models import AsyncModels
from minirec.client._async.rewards import AsyncRewards
from minirec.client._async.selections import AsyncSelections
from minirec.client._async.training_jobs import AsyncTrainingJobs
from minirec.client._async.transport import AsyncTransport
from minirec.client.core import DEFAULT_RETRIES, DEFAULT_TIMEOUT, Call, Config
from minirec.client.embedded import EmbeddedStack
from minirec.client.endpoint import open_http, without_credentials
from minirec.client.threads import in_thread


class AsyncMiniRec:
    """A MiniRec service.

    `client.datasets` uploads data, `client.selections` chooses from it, `client.training_jobs` trains on what was
    chosen, `client.evaluations` measures models, `client.models` and `client.rewards` list what there is,
    `client.keys` lets others in.

    `api_key` and `base_url` come from `MINIREC_API_KEY` and `MINIREC_BASE_URL` unless given. Without an address it is
    the stack that `minirec up` runs here (of several the one in `MINIREC_DATA_DIR`), reached by its own key; `local`
    starts one. `timeout` is in seconds, per attempt; after connection errors, timeouts, 408, 429, 5xx and answers with
    `Retry-After` a call is sent again up to `max_retries` times. Work of an earlier attempt or of another client on the
    same dataset is waited for. A given `http_client` is closed with this client. Without one, proxies come from the
    environment, but for addresses of this machine. Raises `ConfigurationError`.
    """

    datasets: AsyncDatasets
    """Upload, look up and delete datasets and signals."""
    selections: AsyncSelections
    """Start selections, follow them, read scores, subsets and explanations, export."""
    training_jobs: AsyncTrainingJobs
    """Train on a subset, and take back the adapter."""
    evaluations: AsyncEvaluations
    """How good a model is on held-out samples."""
    models: AsyncModels
    """List what jobs used, and the adapters that training jobs left."""
    rewards: AsyncRewards
    """List what answers to prompts may earn."""
    keys: AsyncKeys
    """API keys of tenants, for the operator."""
    _stack: EmbeddedStack | None = None

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx2.Timeout = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        config = Config.create(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries)
        self._attach(AsyncTransport(config, http_client or open_http(httpx2.AsyncClient, config.base_url)))

    @classmethod
    async def local(
        cls,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        models_dir: str | os.PathLike[str] | None = None,
        timeout: float | httpx2.Timeout = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
    ) -> Self:
        """Start a stack on this machine, as `minirec up` does (`pip install 'minirec[up]'`), and return its client.

        It ends with the client, with the interpreter, and also where this process is killed. What it made stays in its
        data folder for the next time. Where a stack runs in that folder already, it is used, and left running.

        Args:
            data_dir: Where everything is kept; `MINIREC_DATA_DIR`, else the user's own folder.
            models_dir: Folder of local models; one in the data folder unless given.
            timeout: Seconds per attempt of a call.
            max_retries: How often a call is sent again.

        Raises:
            StackError: The stack does not come up; the message is its own.
        """
        embedded = await in_thread(EmbeddedStack.start, data_dir, models_dir)
        stack = embedded.stack
        client = cls(base_url=stack.url, api_key=stack.api_key, timeout=timeout, max_retries=max_retries)
        client._stack = embedded
        return client

    def _attach(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.datasets = AsyncDatasets(transport)
        self.selections = AsyncSelections(transport)
        self.training_jobs = AsyncTrainingJobs(transport)
        self.evaluations = AsyncEvaluations(transport)
        self.models = AsyncModels(transport)
        self.rewards = AsyncRewards(transport)
        self.keys = AsyncKeys(transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {without_credentials(self.base_url)}>"

    @property
    def base_url(self) -> str:
        """Return the address of the service."""
        return self._transport.config.base_url

    def with_options(self, *, timeout: float | httpx2.Timeout | None = None, max_retries: int | None = None) -> Self:
        """Return the same client, connections included, with another timeout or number of retries."""
        changed = self._transport.config.changed(timeout=timeout, max_retries=max_retries)
        other = object.__new__(type(self))
        other._attach(replace(self._transport, config=changed))
        other._stack = self._stack
        return other

    def jobs(self, kind: JobKind[Any, JobT]) -> AsyncJobs[JobT]:
        """Return the jobs of a kind: `client.jobs(SELECTION)` is `client.selections`."""
        return cast("AsyncJobs[JobT]", getattr(self, f"{kind.name}s"))

    def jobs_of(self, job_id: str) -> AsyncJobs[Any]:
        """Return the jobs of the kind that an id names. Raises ValueError for an id of no kind."""
        return self.jobs(kind_of(job_id))

    async def version(self) -> Version:
        """Return the version of the service."""
        return await self._transport.get(Call("GET", "/version"), Version)

    async def close(self) -> None:
        """Close the connections, and end the stack that `local` started."""
        await self._transport.http.aclose()
        if self._stack is not None:
            await in_thread(self._stack.stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
