"""Route of a selection's report: one file of HTML that needs nothing else, to be sent to somebody."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.responses import Response

from minirec.service.dependencies import SelectionId, StoreOf
from minirec.service.explanations import explain
from minirec.service.page.explained import explained
from minirec.service.page.templating import STATIC, render
from minirec.service.problems import problems
from minirec.service.results import result_of
from minirec.service.selections import selection_or_404
from minirec.store import Store

SAMPLES = 12
"""Picks that are shown whole."""

router = APIRouter(prefix="/v1/selections", tags=["results"], responses=problems(401, 404, 409, 410, 422, 503))


@router.get(
    "/{selection_id}/report",
    response_class=Response,
    responses={
        200: {
            "description": "One HTML file that needs nothing else: charts, tables, and some of the picks",
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    },
)
def get_report(store: StoreOf, selection_id: SelectionId) -> Response:
    """Return a finished selection as one HTML file for people who have no access to the service."""
    return HTMLResponse(
        report(store, selection_id),
        headers={
            "Content-Disposition": f'attachment; filename="{selection_id}.html"',
            # Opened from here all the same, it runs nothing and asks for nothing.
            "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        },
    )


def report(store: Store, selection_id: str) -> str:
    """Return the report of a finished selection. Raises ProblemError."""
    result = result_of(store, selection_id)
    selection = selection_or_404(store, selection_id)
    picks = [result.sample_id(int(position)) for position in result.rank_order[:SAMPLES]]
    return render(
        "report.html",
        title=f"Selection {selection_id}",
        job=selection,
        explained=explained(store, selection, links=False),
        samples=[explain(store, selection_id, sample_id) for sample_id in picks],
        styles=Markup((STATIC / "uPlot.min.css").read_text() + (STATIC / "page.css").read_text()),
        scripts=Markup((STATIC / "uPlot.iife.min.js").read_text() + (STATIC / "charts.js").read_text()),
        licence=(STATIC / "uPlot.LICENSE.txt").read_text(),
    )
