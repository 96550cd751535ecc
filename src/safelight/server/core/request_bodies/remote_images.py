"""Fetch an image from a URL that a client gave, without access to private networks (SSRF).

A host name is resolved once, and the connection goes to the address that was checked: a name that resolves differently
between the check and the connection (DNS rebinding) gains nothing. Redirects are followed one by one, each with the
same checks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import httpx2

from safelight.errors import ImageTooManyBytesError, ImageUrlError
from safelight.server.core.executors.thread_pools import ThreadPools

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressFilter = Callable[[Address], bool]

TIMEOUT = 20.0
"""Seconds that a fetch may take, redirects included."""
MAX_REDIRECTS = 3
_MAX_URL = 2048
_TUNNEL_NETWORKS = tuple(
    ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
"""Networks whose addresses embed another address: NAT64, 6to4, Teredo."""
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "safelight"}


def is_public(address: Address) -> bool:
    """Whether an address is globally routable: neither of this machine nor of a private or reserved network."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.is_site_local or any(address in relay for relay in _TUNNEL_NETWORKS):
            return False
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
    )
    return address.is_global and not any(special)


async def fetch_image(
    url: str, max_bytes: int, threads: ThreadPools, *, is_allowed: AddressFilter = is_public
) -> bytes:
    """The bytes at a URL, whatever their media type.

    Args:
        url: An http or https URL.
        max_bytes: Maximum size, checked while the response arrives.
        threads: The thread pools, for name resolution.
        is_allowed: Whether an address may be connected to.

    Raises:
        ImageUrlError: The URL is not allowed, or nothing could be fetched from it.
        ImageTooManyBytesError: The response is larger than the limit.
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT) as client,
        ):
            response = await _follow_redirects(client, _parse_url(url), threads, is_allowed)
            try:
                return await _read_body(response, max_bytes)
            finally:
                await response.aclose()
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:  # OSError: TimeoutError too
        raise ImageUrlError(f"The picture could not be fetched: {type(error).__name__}.") from error


async def _follow_redirects(
    client: httpx2.AsyncClient, url: httpx2.URL, threads: ThreadPools, is_allowed: AddressFilter
) -> httpx2.Response:
    """The response after all redirects; the caller reads and closes it."""
    for _ in range(MAX_REDIRECTS + 1):
        address = await _resolve(url, threads, is_allowed)
        response = await client.send(_build_request(client, url, address), stream=True)
        if not response.has_redirect_location:
            return response
        await response.aclose()
        url = _parse_url(str(url.join(response.headers["Location"])))
    raise ImageUrlError("The address redirects too often.")


def _parse_url(text: str) -> httpx2.URL:
    if len(text) > _MAX_URL:
        raise ImageUrlError("The address is too long.")
    url = httpx2.URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ImageUrlError("Only http and https addresses without user and password are fetched from.")
    if url.port is not None and not 0 < url.port < 65536:
        raise ImageUrlError("There is no such port.")
    return url


def _build_request(client: httpx2.AsyncClient, url: httpx2.URL, address: Address) -> httpx2.Request:
    """A request to a checked address, with the Host header and TLS server name of the URL's host."""
    host = url.netloc.decode("ascii")
    return client.build_request(
        "GET",
        url.copy_with(host=str(address), fragment=None),
        headers={**_HEADERS, "Host": host},
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    )


async def _resolve(url: httpx2.URL, threads: ThreadPools, is_allowed: AddressFilter) -> Address:
    """The host's first address; all of its addresses must be permitted."""
    port = url.port or (443 if url.scheme == "https" else 80)
    name = url.raw_host.decode("ascii")
    entries = await threads.run_dns(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries]
    if not addresses or not all(is_allowed(address) for address in addresses):
        raise ImageUrlError("The address belongs to no public host.")
    return addresses[0]


async def _read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    if response.status_code != 200:
        raise ImageUrlError(f"The other side answers with the status {response.status_code}.")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ImageUrlError("The other side sends it compressed, which was not asked for.")
    data = bytearray()
    async for block in response.aiter_raw():
        data += block
        if len(data) > max_bytes:
            raise ImageTooManyBytesError(f"The picture has more than {max_bytes} bytes.")
    return bytes(data)
