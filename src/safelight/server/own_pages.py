"""Which pages are this server's own, by what a browser says of where a request comes from."""

from __future__ import annotations

from starlette.datastructures import Headers


def own_origins(headers: Headers) -> frozenset[str]:
    """The origins of this server's own pages, in lower case: under the name that a request asks for it by."""
    return frozenset(
        f"{scheme}://{host.lower()}" for host in headers.getlist("host") for scheme in ("http", "https")
    )


def is_from_here(headers: Headers) -> bool:
    """Whether one of our own pages made a request, or no page at all; another port is another origin."""
    origin = headers.get("origin")
    return origin is None or origin.lower() in own_origins(headers)
