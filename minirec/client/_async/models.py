"""`client.models`: what jobs used, and what training jobs left."""

from __future__ import annotations

from minirec.api_schemas import Page, UsedModel
from minirec.client._async.pages import AsyncPages
from minirec.client._async.resource import AsyncResource
from minirec.client.core import Call


class AsyncModels(AsyncResource):
    """List models that jobs used, and adapters that training jobs left."""

    def list(self, *, after: UsedModel | str | None = None, limit: int | None = None) -> AsyncPages[UsedModel]:
        """Return all of them, newest first: iterate over them, or over `pages()`.

        `after` begins behind one, `limit` is the most that come. `client.training_jobs.download` fetches the adapter
        of one with a `training_job_id`.
        """
        behind = after.id if isinstance(after, UsedModel) else after
        call = Call("GET", "/v1/models", params={"after": behind})
        return AsyncPages(self._transport, call, Page[UsedModel], limit=limit)
