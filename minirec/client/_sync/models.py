# Generated from ../_async by scripts/unasync.py. Do not edit.
"""`client.models`: what jobs used, and what training jobs left."""

from __future__ import annotations

from minirec.api_schemas import Page, UsedModel
from minirec.client._sync.pages import Pages
from minirec.client._sync.resource import Resource
from minirec.client.core import Call


class Models(Resource):
    """List models that jobs used, and adapters that training jobs left."""

    def list(self, *, after: UsedModel | str | None = None, limit: int | None = None) -> Pages[UsedModel]:
        """Return all of them, newest first: iterate over them, or over `pages()`.

        `after` begins behind one, `limit` is the most that come. `client.training_jobs.download` fetches the adapter
        of one with a `training_job_id`.
        """
        behind = after.id if isinstance(after, UsedModel) else after
        call = Call("GET", "/v1/models", params={"after": behind})
        return Pages(self._transport, call, Page[UsedModel], limit=limit)
