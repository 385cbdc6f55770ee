# Generated from ../_async by scripts/unasync.py. Do not edit.
"""The scores of a selection's samples: as rows, page after page."""

from __future__ import annotations

from api_schemas import Page, SampleScore
from minirec.client._sync.pages import Pages
from minirec.client._sync.transport import Transport
from minirec.client.core import Call
from minirec.client.selection_calls import SCORES_PAGE


class Scores(Pages[SampleScore]):
    """What was measured of each sample of a finished selection's pool: iterate over the rows."""

    def __init__(self, transport: Transport, call: Call, *, limit: int | None = None) -> None:
        super().__init__(transport, call, Page[SampleScore], limit=limit, size=SCORES_PAGE)
