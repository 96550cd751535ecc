"""``/v1/session``: a browser signs in with a key, sees who it is to the server, and signs out."""

from __future__ import annotations

from typing import Literal, TypedDict

from fastapi import APIRouter, Request, Response

from safelight.errors import OriginRefusedError
from safelight.server.auth import LOCAL, Caller, Who
from safelight.server.browsers import SESSION
from safelight.server.credentials import COOKIE, counted, credentials, session_of
from safelight.server.guard import wants_keys
from safelight.server.own_pages import is_from_here
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import SESSION_OF_ANNA
from safelight.server.schemas.session import SessionView, SignIn
from safelight.server.sessions import LASTS
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix=SESSION, tags=["session"])


class Attributes(TypedDict):
    """How a browser is to keep a cookie."""

    path: str
    secure: bool
    httponly: bool
    samesite: Literal["strict"]


@router.post(
    "",
    operation_id="open_session",
    summary="Sign in",
    responses=errors() | shown(SESSION_OF_ANNA),
    openapi_extra={"security": []},
)
async def open_session(body: SignIn, request: Request, response: Response, behind: Behind) -> SessionView:
    """Show a key once; the answer sets a cookie for a browser. A server that wants no key sets none."""
    if not is_from_here(request.headers):
        raise OriginRefusedError(
            "Pages of other origins cannot sign in.", hint="Send the key along with each request."
        )
    who = await behind.threads.key(_shown, body, request, behind)
    if who is not LOCAL:
        token = await behind.threads.write(_opened, who, request, behind)
        response.set_cookie(COOKIE, token, int(LASTS.total_seconds()), **_attributes(request))
    return _view(who, cookie=who is not LOCAL)


@router.get(
    "",
    operation_id="get_session",
    summary="See who you are",
    responses=errors() | shown(SESSION_OF_ANNA),
)
async def get_session(request: Request, who: Who) -> SessionView:
    """Whose requests these are, by key, by cookie, or because nobody needs a key here."""
    return _view(who, cookie=who is not LOCAL and credentials(request.headers)[1] is None)


@router.delete("", status_code=204, operation_id="close_session", summary="Sign out", responses=errors())
async def close_session(request: Request, response: Response, behind: Behind) -> None:
    """Forget this browser: its cookie is worth nothing any longer, and what it follows ends."""
    if (token := session_of(request.scope)) is not None:
        await behind.threads.write(_closed, token, behind)
    response.delete_cookie(COOKIE, **_attributes(request))


def _shown(body: SignIn, request: Request, behind: Backstage) -> Caller:
    """Who shows a key; runs in a thread, since it asks the database, but in none that others write with."""
    if not wants_keys(behind.service.settings, behind.keys):
        return LOCAL
    with counted(behind.limits, request.scope):
        who = behind.keys.caller(body.key, body.name)
    behind.limits.request(who)
    return who


def _opened(who: Caller, request: Request, behind: Backstage) -> str:
    """Begin a session, in place of the one that the browser had: nobody could end that any more."""
    if (former := session_of(request.scope)) is not None:
        _closed(former, behind)
    token = behind.sessions.open(str(who.key_id))
    behind.audit.note("session.opened", owner=who.owner)
    return token


def _closed(token: str, behind: Backstage) -> None:
    if (owner := behind.sessions.close(token)) is not None:
        behind.audit.note("session.closed", owner=owner)


def _attributes(request: Request) -> Attributes:
    """How the cookie is kept: from scripts and other sites, and once it came by https, for https alone."""
    return {"path": "/", "secure": request.url.scheme == "https", "httponly": True, "samesite": "strict"}


def _view(who: Caller, *, cookie: bool) -> SessionView:
    return SessionView(owner=who.owner, role=who.role, keys=who is not LOCAL, cookie=cookie)
