"""Signing in with a key, and out."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from minirec.service import sessions
from minirec.service.auth import caller_of_key, needs_key
from minirec.service.page.templating import PageRoute, page, see
from minirec.service.problems import ProblemError
from minirec.settings import Settings
from minirec.store import Store

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Next = Annotated[str, Query(max_length=2000)]


@router.get("/sign-in")
def sign_in_form(request: Request, next: Next = "/") -> Response:
    """Ask for a key."""
    return page(request, "sign_in.html", title="Sign in", next=own_path(next), error=None)


@router.post("/sign-in")
def sign_in(
    request: Request,
    key: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Take a key, and give a session for it."""
    settings, store = cast(Settings, request.app.state.settings), cast(Store, request.app.state.store)
    target = own_path(next)
    if not needs_key(settings, store):
        return see(target)
    given = key.strip()
    try:
        caller = caller_of_key(settings, store, given)
    except ProblemError as error:
        return page(request, "sign_in.html", 401, title="Sign in", next=target, error=error.detail)
    if caller.key_id is None:
        token = sessions.open_session(store, operator_key=given)
    else:
        token = sessions.open_session(store, key_id=caller.key_id)
    answer = see(target)
    answer.set_cookie(
        sessions.cookie_name(request),
        token,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session."""
    if (token := sessions.token_of(request)) is not None:
        sessions.close_session(cast(Store, request.app.state.store), token)
    answer = see("/sign-in")
    answer.delete_cookie(sessions.cookie_name(request), path="/")
    return answer


def own_path(path: str) -> str:
    """Return a path of this service as it is, and `/` for anything that could lead elsewhere."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_own else "/"
