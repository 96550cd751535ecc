"""``/v1/session``: a browser signs in with a key, reads its session, and signs out."""

from __future__ import annotations

from typing import Literal, TypedDict

from fastapi import APIRouter, Request, Response

from safelight.errors import OriginRefusedError
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.session import SessionView, SignIn
from safelight.server.api.openapi_examples import SESSION_OF_ANNA
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.bind_policy import requires_keys
from safelight.server.security.browser_auth import SESSION_PATH
from safelight.server.security.credentials import (
    SESSION_COOKIE,
    counting_wrong_keys,
    parse_credentials,
    session_token,
)
from safelight.server.security.dependencies import LOCAL, CurrentPrincipal, Principal
from safelight.server.security.same_origin import is_same_origin
from safelight.server.security.sessions import LIFETIME

router = APIRouter(prefix=SESSION_PATH, tags=["session"])


class CookieAttributes(TypedDict):
    """Attributes of a cookie."""

    path: str
    secure: bool
    httponly: bool
    samesite: Literal["strict"]


@router.post(
    "",
    operation_id="open_session",
    summary="Sign in",
    responses=error_responses() | example_response(SESSION_OF_ANNA),
    openapi_extra={"security": []},
)
async def open_session(
    body: SignIn, request: Request, response: Response, app_state: CurrentAppState
) -> SessionView:
    """Exchange a key for a session cookie. A server that requires no keys sets none."""
    if not is_same_origin(request.headers):
        raise OriginRefusedError(
            "Pages of other origins cannot sign in.", hint="Send the key along with each request."
        )
    who = await app_state.threads.run_auth(_authenticate, body, request, app_state)
    if who is not LOCAL:
        token = await app_state.threads.run_write(_open, who, request, app_state)
        response.set_cookie(SESSION_COOKIE, token, int(LIFETIME.total_seconds()), **_attributes(request))
    return _view(who, cookie=who is not LOCAL)


@router.get(
    "",
    operation_id="get_session",
    summary="Get your session",
    responses=error_responses() | example_response(SESSION_OF_ANNA),
)
async def get_session(request: Request, principal: CurrentPrincipal) -> SessionView:
    """The principal of the requests: by key, by cookie, or local where no key is required."""
    return _view(principal, cookie=principal is not LOCAL and parse_credentials(request.headers)[1] is None)


@router.delete(
    "", status_code=204, operation_id="close_session", summary="Sign out", responses=error_responses()
)
async def close_session(request: Request, response: Response, app_state: CurrentAppState) -> None:
    """End the session: its cookie becomes invalid, and its event streams end."""
    if (token := session_token(request.scope)) is not None:
        await app_state.threads.run_write(_close, token, app_state)
    response.delete_cookie(SESSION_COOKIE, **_attributes(request))


def _authenticate(body: SignIn, request: Request, app_state: AppState) -> Principal:
    """Authenticate a key. Runs in a thread, since it queries the database, but not in the writers' thread."""
    if not requires_keys(app_state.service.settings, app_state.keys):
        return LOCAL
    with counting_wrong_keys(app_state.rate_limiter, request.scope):
        who = app_state.keys.authenticate(body.key, body.name)
    app_state.rate_limiter.count_request(who)
    return who


def _open(principal: Principal, request: Request, app_state: AppState) -> str:
    """Open a session and close the browser's former one, which nobody could close any more."""
    if (former := session_token(request.scope)) is not None:
        _close(former, app_state)
    token = app_state.sessions.open(str(principal.key_id))
    app_state.audit_log.write("session.opened", owner=principal.owner)
    return token


def _close(token: str, app_state: AppState) -> None:
    if (owner := app_state.sessions.close(token)) is not None:
        app_state.audit_log.write("session.closed", owner=owner)


def _attributes(request: Request) -> CookieAttributes:
    """Attributes that keep the cookie from scripts and other sites, and for https only once it was set over https."""
    return {"path": "/", "secure": request.url.scheme == "https", "httponly": True, "samesite": "strict"}


def _view(principal: Principal, *, cookie: bool) -> SessionView:
    return SessionView(owner=principal.owner, role=principal.role, keys=principal is not LOCAL, cookie=cookie)
