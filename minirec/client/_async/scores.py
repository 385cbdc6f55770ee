"""The scores of a selection's samples: as rows, page after page."""

from __future__ import annotations

from api_schemas import Page, SampleScore
from minirec.client._async.pages import AsyncPages
from minirec.client._async.transport import AsyncTransport
from minirec.client.core import Call
from minirec.client.selection_calls import SCORES_PAGE


class AsyncScores(AsyncPages[SampleScore]):
    """What was measured of each sample of a finished selection's pool: iterate over the rows."""

    def __init__(self, transport: AsyncTransport, call: Call, *, limit: int | None = None) -> None:
        super().__init__(transport, call, Page[SampleScore], limit=limit, size=SCORES_PAGE)
