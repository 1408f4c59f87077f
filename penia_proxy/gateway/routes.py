"""
Say where a request wants to go.

Its one job: an exact (provider, method, path) from a raw request target, or a refusal.
Rules: one representation of a path: whatever could be read two ways is refused, never normalised (reliability.md §4,
M7, M9). Matching is on the raw path. Nothing of a request ever becomes a host.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from penia_proxy.errors import InvalidRequest, UnmeteredRoute
from penia_proxy.ids import COMPONENT
from penia_proxy.wire.call import Opens, Route

_AMBIGUOUS = re.compile(r"//|\\|#|%(?:2e|2f|5c|23|3f|25|00)|/\.\.?(?:/|$)|[^\x21-\x7e]", re.IGNORECASE)
"""
Dot segments, encoded dots, slashes, backslashes, ``#``, ``?``, ``%`` and NUL, empty segments, anything not printable
ASCII.
"""


class Target(NamedTuple):
    """A request target, taken apart; nothing is decoded but the component's name."""

    component: str | None
    provider: str
    path: str
    """The provider's own path, raw, with its leading slash; empty where there was none."""
    query: str
    """Raw, without the question mark."""


def target_of(raw_target: str) -> Target:
    """Take a raw request target apart. Raises InvalidRequest where it is ambiguous or not in origin form."""
    path, _, query = raw_target.partition("?")
    if not path.startswith("/"):
        raise InvalidRequest("The request target must be a path.")
    if _AMBIGUOUS.search(path) or not query.isascii() or not (query.isprintable() or not query):
        raise InvalidRequest("The path has dot segments, empty segments or encoded separators; send it as it is meant.")
    component = None
    first, _, rest = path[1:].partition("/")
    if first.startswith("@"):
        component = unquote(first[1:])
        if not COMPONENT.fullmatch(component):
            raise InvalidRequest("The component after '@' must be 1 to 128 letters, digits, spaces or . _ : / @ + -.")
        first, _, rest = rest.partition("/")
    return Target(component, first, f"/{rest}" if rest else "", query)


class RouteTable:
    """The routes of one provider."""

    def __init__(self, routes: Iterable[Route], free_routes: Iterable[str] = ()) -> None:
        """``free_routes`` are ``METHOD /path`` of the configuration: costing nothing by the operator's word."""
        self._sockets: dict[str, Route] = {}
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Route]] = []
        told = (Route(line.split(" ", 1)[0], line.split(" ", 1)[1], None) for line in free_routes)
        for route in (*told, *routes):
            if route.opens is not None:
                self._sockets[route.path] = route
            elif "{}" in route.path:
                pattern = re.compile(re.escape(route.path).replace(r"\{\}", "([^/]+)"))
                self._patterns.append((route.method, pattern, route))
            else:
                self._exact.setdefault((route.method, route.path), route)

    def match_socket(self, method: str, path: str) -> tuple[str, Opens]:
        """Return a WebSocket's operation, and what opens a session of it. Raises UnmeteredRoute."""
        route = self._sockets.get(path) if method == "GET" else None
        if route is None or route.opens is None:
            raise UnmeteredRoute("This path is not a WebSocket that can be metered, so it is not opened.")
        return route.operation or "", route.opens

    def match(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """Return the route and what stood in its ``{}``, percent-decoded. Raises UnmeteredRoute."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, ()
        for known, pattern, candidate in self._patterns:
            if known == method and (found := pattern.fullmatch(path)):
                return candidate, tuple(map(unquote, found.groups()))
        if method == "GET" and path in self._sockets:
            raise UnmeteredRoute("This path is a WebSocket; connect with one.")
        raise UnmeteredRoute(
            "This path is not one that can be metered, so it is not forwarded. Only a path that costs nothing may be"
            " listed under 'free_routes' of the provider in config.yaml."
        )
