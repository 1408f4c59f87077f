"""
Read the head of a request.

Its one job: the bytes before a body → the method, target and headers that they say, and how the body is framed.
Rules: llhttp parses, strictly; what another server could frame differently is refused. A caller sends the same head
again and again, so that what was read once is remembered by its very bytes, the digits of its Content-Length apart.
Heads hold keys: they are remembered in memory only, and only so many of them.
"""

import re
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from multidict import CIMultiDict, CIMultiDictProxy

from penia_proxy.config import ServerConfig

KILOBYTE = 1024

REMEMBERED_MAX = 512
REMEMBERED_BYTES_MAX = 4_096
"""Of one head: a longer one is read anew each time."""

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")


class MalformedError(Exception):
    """It is no HTTP, or not framed in one way only, or one of its lines is too long. Its text quotes nothing of it."""


class Head:
    """What one head says. Never changed, so that requests with the same head share it."""

    __slots__ = ("expects", "framing", "headers", "keeps", "method", "plan", "target", "upgrades", "version")

    def __init__(self, method: str, target: str, version: str, headers: CIMultiDict[str]) -> None:
        self.method = method
        self.target = target
        """Raw, as it stood in the request line."""
        self.version = version
        self.framing = _framing(headers)
        headers.popall("Content-Length", None)  # this request's own
        self.headers = CIMultiDictProxy(headers)
        said = headers.getall("Connection", ())
        tokens = {token.strip().lower() for line in said for token in line.split(",")}
        self.keeps = version == "1.1" and "close" not in tokens
        """Whether its sender lets another request follow."""
        self.expects = headers.get("Expect", "").strip().lower() == "100-continue"
        self.upgrades = headers.get("Upgrade", "").strip().lower() == "websocket"
        """Whether it wants to become a WebSocket; what asks for anything else (h2c) may be answered as it is."""
        self.plan: Any = None
        """What whoever answers it has found out from it alone, for the next request with this head."""

    @property
    def is_chunked(self) -> bool:
        """Whether the body says its own length."""
        return self.framing is None


class Heads:
    """The heads that one port has read."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, raw: bytes, limits: ServerConfig) -> tuple[Head, int | None]:
        """Return what a head says, and its body's bytes; None: it comes in chunks. Raises MalformedError."""
        found = _LENGTH.search(raw)
        if found is None:
            key, length = raw, None
        else:
            start, end = found.span(1)
            # With a digit, so that no length that is none has the same bytes.
            key, length = b"%b0%b" % (raw[:start], raw[end:]), int(found[1])
        head = self._known.get(key)
        if head is None:
            head = _parsed(raw, limits)
            if len(raw) <= REMEMBERED_BYTES_MAX:
                if len(self._known) >= REMEMBERED_MAX:
                    del self._known[next(iter(self._known))]
                self._known[key] = head
        if found is None:
            length = head.framing
        return head, length


class _Reader:
    """Takes what llhttp tells."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[str, str]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # As aiohttp decodes them; they are encoded so again, and what came is what leaves.
        text = value.decode("utf-8", "surrogateescape").strip(" \t")
        self.fields.append((name.decode("utf-8", "surrogateescape"), text))

    def on_headers_complete(self) -> None:
        self.complete = True


def _parsed(raw: bytes, limits: ServerConfig) -> Head:
    lines = raw.split(b"\r\n")
    if len(lines) - 3 > limits.max_headers or max(map(len, lines)) > limits.max_header_line_kb * KILOBYTE:
        raise MalformedError("too many or too long lines")
    reader = _Reader()
    parser = HttpRequestParser(reader)
    try:
        parser.feed_data(raw)
    except HttpParserUpgrade:
        pass  # whatever it asks to become, the head is whole
    except HttpParserError as error:
        raise MalformedError("no HTTP") from error
    if not reader.complete:
        raise MalformedError("not whole")
    headers = CIMultiDict(reader.fields)
    version = parser.get_http_version()
    # RFC 9112 §3.2: one Host, of every request of this version.
    if len(headers.getall("Host", ())) != 1 and version == "1.1":
        raise MalformedError("not one Host")
    return Head(parser.get_method().decode(), reader.target.decode("utf-8", "surrogateescape"), version, headers)


def _framing(headers: CIMultiDict[str]) -> int | None:
    """Return the body's length, None where it comes in chunks; llhttp has refused two lengths, and both at once."""
    codings = headers.getall("Transfer-Encoding", None)
    if codings is None:
        return int(headers.get("Content-Length", "0"))
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise MalformedError("a transfer coding that nobody asked for")
    return None
