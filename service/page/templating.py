"""Templates, the headers of pages, and what a page answers when something is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from minirec import __version__
from minirec.api_schemas.messages import located
from minirec.service.problems import ProblemError, internal_error
from minirec.store.errors import LostError

log = structlog.get_logger(__name__)

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere: a title or a rollout that came to be read as HTML could run no script."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    # With `no-referrer`, browsers leave the origin out of a form, and it would be refused.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_environment = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def embedded(value: object) -> Markup:
    """Return data as JSON that stands in a `script` of type `application/json`, and cannot end it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def when(at: float | None) -> str:
    """Return a time as people read it, in UTC."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for unit, size, below, step in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // step} {below}"
    return f"{whole} s"


_environment.filters |= {
    "embedded": embedded,
    "when": when,
    "span": span,
    "words": lambda text: str(text).replace("_", " "),
    "count": lambda number: f"{number:,}",
    "segment": lambda text: quote(str(text), safe=""),
    "number": lambda value: "–" if value is None else f"{value:.4g}",
}
_environment.globals |= {"version": __version__, "now": time.time}


def render(name: str, **values: Any) -> str:
    """Return a template's text; every value is escaped."""
    return _environment.get_template(name).render(values)


def page(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    text = render(name, path=request.url.path, signed_in=getattr(request.state, "session", False), **values)
    return HTMLResponse(text, status, headers=HEADERS)


def see(path: str) -> Response:
    """Return the answer that leads a browser to another page, after a form."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})


class PageRoute(APIRoute):
    """A route whose errors are pages, and which leads those who have not signed in to where they can."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            # A browser sends the fields of a form that nobody filled in as empty ones.
            filled = [(name, value) for name, value in request.query_params.multi_items() if value != ""]
            request = Request({**request.scope, "query_string": urlencode(filled).encode()}, request.receive)
            try:
                return await handle(request)
            except ProblemError as error:
                found = error
            except RequestValidationError as error:
                loc, words, _ = located(error.errors(), error.body)[0]
                found = ProblemError(422, "invalid_request", f"{'.'.join(map(str, loc[1:]))}: {words}")
            except LostError as error:
                found = ProblemError(410, "data_lost", str(error))
            except (RedisConnectionError, RedisTimeoutError):
                detail = "Redis does not answer; nothing was lost, load the page again"
                found = ProblemError(503, "store_unavailable", detail)
            except Exception:
                log.exception("page_failed", path=request.url.path)
                found = internal_error()
            return problem_page(request, found)

        return answer


def problem_page(request: Request, error: ProblemError) -> Response:
    """Return the page for an error."""
    if error.status_code == 401 and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see(f"/sign-in?next={quote(target, safe='')}")
    title = HTTPStatus(error.status_code).phrase
    return page(request, "problem.html", error.status_code, title=title, error=error)
