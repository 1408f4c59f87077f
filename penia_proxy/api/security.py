"""
Refuse what another site's page can make a browser send.

Its one job: the control plane's guard; it has no cookies and, until keys are required, no credentials, so a browser on
the same machine is the way in.
Rules:

* Bound to loopback, only our own names are served: a foreign ``Host`` is DNS rebinding (reliability.md §7.21).
* An unsafe method is refused when the browser says that another site asked (``Sec-Fetch-Site``; for older browsers a
  foreign ``Origin``). Programs send neither and pass (§7.17).
* No CORS header is ever sent: other sites may not read (§7.16).
"""

import ipaddress
import re
from urllib.parse import urlsplit

from aiohttp import web

from penia_proxy.errors import Forbidden

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer of the control plane; a page names its own policy."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::\d{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def hosts_of(bound: str) -> frozenset[str] | None:
    """Return the names we answer to when bound to an address; None: to any, others have names for us."""
    try:
        address = ipaddress.ip_address(bound)
    except ValueError:
        return _LOOPBACK if bound.lower() == "localhost" else None
    if not address.is_loopback:
        return None
    return _LOOPBACK | {f"[{address}]" if address.version == 6 else str(address)}


def admit(request: web.BaseRequest, hosts: frozenset[str] | None) -> None:
    """Raise Forbidden unless the request may be served."""
    host = _HOST.fullmatch(request.headers.get("Host", ""))
    if host is None or (hosts is not None and host["name"].lower() not in hosts):
        raise Forbidden("This host name is not one of ours.")
    if request.method not in _SAFE:
        site = request.headers.get("Sec-Fetch-Site")
        if site in {"cross-site", "same-site"} or (site is None and not same_origin(request)):
            raise Forbidden("A page of another site may not ask for this.")


def same_origin(request: web.BaseRequest) -> bool:
    """
    Whether the request comes from a page of ours or from no page at all.

    Schemes are not compared: a TLS terminator in front of us changes ours, and whoever owns a host owns both.
    """
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower() != ""
