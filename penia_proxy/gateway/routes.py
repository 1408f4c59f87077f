"""
Say where a request wants to go.

Its one job: an exact (provider, method, path) from a raw request target, or a refusal.
Rules: one representation of a path: whatever could be read two ways is refused, never normalised (reliability.md §4,
M7, M9). Matching is on the raw path. Nothing of a request ever becomes a host.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from penia_proxy.config import RESERVED_NAMES
from penia_proxy.errors import InvalidRequest, UnmeteredRoute
from penia_proxy.ids import COMPONENT
from penia_proxy.wire.call import Opens, Route

_AMBIGUOUS = re.compile(r"//|\\|#|%(?:2e|5c|23|3f|25|00)|/\.\.?(?:/|$)|[^\x21-\x7e]", re.IGNORECASE)
"""
Dot segments, encoded dots, backslashes, ``#``, ``?``, ``%`` and NUL, empty segments, anything not printable ASCII.
"""

_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)

_RESOURCE = re.compile(
    r"arn(?P<c>:|%3A)aws[a-z-]*(?P=c)(?:bedrock|sagemaker)(?P=c)[a-z0-9-]{1,20}(?P=c)\d{0,12}(?P=c)"
    r"[a-z-]+(?:%2F[A-Za-z0-9](?:[A-Za-z0-9._-]|(?P=c))*){1,2}"
)
"""
An AWS resource name as one segment: what Bedrock takes for a model (botocore 1.44.8, ConversationalModelId). Nowhere
else is an encoded slash let through: whoever decodes it sees another path.
"""


AMBIGUOUS = "The path has dot segments, empty segments or encoded separators; send it as it is meant."


class Target(NamedTuple):
    """A request target, taken apart; nothing is decoded but the component's name."""

    component: str | None
    provider: str
    path: str
    """The provider's own path, raw, with its leading slash; empty where there was none."""
    query: str
    """Raw, without the question mark."""


def is_call(raw_target: str) -> bool:
    """Whether a request is a provider's, by the first segment of its raw path, which no provider shares with ours."""
    first = raw_target[1:].split("/", 1)[0].split("?", 1)[0]
    return not raw_target.startswith("/") or (bool(first) and first not in RESERVED_NAMES)


def target_of(raw_target: str) -> Target:
    """Take a raw request target apart. Raises InvalidRequest where it is ambiguous or not in origin form."""
    path, _, query = raw_target.partition("?")
    if query and not (query.isascii() and query.isprintable()):
        raise InvalidRequest(AMBIGUOUS)
    component, provider, rest = _parts_of(path)
    return Target(component, provider, rest, query)


@lru_cache(maxsize=512)
def _parts_of(path: str) -> tuple[str | None, str, str]:
    """Return component, provider and the provider's path; remembered, as callers have few. Raises InvalidRequest."""
    if not path.startswith("/"):
        raise InvalidRequest("The request target must be a path.")
    if _AMBIGUOUS.search(path) or _hides_a_slash(path):
        raise InvalidRequest(AMBIGUOUS)
    component = None
    first, _, rest = path[1:].partition("/")
    if first.startswith("@"):
        component = unquote(first[1:])
        if not COMPONENT.fullmatch(component):
            raise InvalidRequest("The component after '@' must be 1 to 128 letters, digits, spaces or . _ : / @ + -.")
        first, _, rest = rest.partition("/")
    return component, first, f"/{rest}" if rest else ""


def _hides_a_slash(path: str) -> bool:
    return any(_ENCODED_SLASH.search(part) and not _RESOURCE.fullmatch(part) for part in path.split("/"))


_PLACES = {"{}": "((?:(?!%2F)[^/])+)", "{arn}": "([^/]+)"}
"""What stands for one segment of a route's path, and what may stand there."""


class RouteTable:
    """The routes of one provider."""

    def __init__(self, routes: Iterable[Route], free_routes: Iterable[str] = ()) -> None:
        """``free_routes`` are ``METHOD /path`` of the configuration: costing nothing by the operator's word."""
        self._sockets: dict[str, Route] = {}
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, int], list[tuple[re.Pattern[str], Route]]] = {}
        """By method and number of segments, which no pattern crosses."""
        told = (Route(line.split(" ", 1)[0], line.split(" ", 1)[1], None) for line in free_routes)
        for route in (*told, *routes):
            if route.opens is not None:
                self._sockets[route.path] = route
            elif any(place in route.path for place in _PLACES):
                pattern = re.escape(route.path)
                for place, segment in _PLACES.items():
                    pattern = pattern.replace(re.escape(place), segment)
                alike = self._patterns.setdefault((route.method, route.path.count("/")), [])
                alike.append((re.compile(pattern), route))
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
        for pattern, candidate in self._patterns.get((method, path.count("/")), ()):
            if found := pattern.fullmatch(path):
                return candidate, tuple(map(unquote, found.groups()))
        if method == "GET" and path in self._sockets:
            raise UnmeteredRoute("This path is a WebSocket; connect with one.")
        raise UnmeteredRoute(
            "This path is not one that can be metered, so it is not forwarded. Only a path that costs nothing may be"
            " listed under 'free_routes' of the provider in config.yaml."
        )
