"""Same-origin checks by the Origin and Host headers of a request."""

from __future__ import annotations

from starlette.datastructures import Headers


def own_origins(headers: Headers) -> frozenset[str]:
    """The origins of this server's own pages, in lower case, under the name in the request's Host header."""
    return frozenset(
        f"{scheme}://{host.lower()}" for host in headers.getlist("host") for scheme in ("http", "https")
    )


def is_same_origin(headers: Headers) -> bool:
    """Whether a request comes from one of our own pages or from no page; another port is another origin."""
    origin = headers.get("origin")
    return origin is None or origin.lower() in own_origins(headers)
