"""
Carry a call to its provider and the answer back.

Its one job: one HTTP exchange with a provider, headers and bytes as they are.
Rules: hosts come from the configuration only; no redirects, no proxies from the environment, no decompression.
Hop-by-hop headers and our own never cross. Whether the provider was reached is part of every failure, because it
decides who pays.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from penia_proxy.config import ProviderConfig
from penia_proxy.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from penia_proxy.gateway.signing import brings_a_key, is_signature, signer_of

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 §7.6.1, and what ``Connection`` names."""

NOT_TO_PROVIDER = HOP_BY_HOP | {
    "host",
    "content-length",
    "expect",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "x-http-method-override",
}
"""Ours to set, nobody's business, or what would make another request of the one that was metered."""

NOT_TO_CALLER = HOP_BY_HOP | {"content-length", "set-cookie", "alt-svc", "strict-transport-security"}
"""Statements about the provider's own origin, which ours is not."""

CONNECTIONS_MAX = 1_000

KEEPALIVE_SECONDS = 15
"""Shorter than any provider's own: what is sent as its server closes the connection may or may not be heard."""


class ReachedError(Exception):
    """The exchange failed after bytes may have reached the provider; ``error`` is what the caller is told."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(str(error))
        self.error = error


class Provider:
    """One configured provider, ready to be called."""

    def __init__(self, name: str, config: ProviderConfig, session: aiohttp.ClientSession) -> None:
        """Make it ready. Raises ConfigError where it is to be signed for, and what signs is not installed."""
        self.name = name
        self._signer = signer_of(name, config)
        self.config = config
        self._session = session
        self._origin = URL(config.base_url).origin()
        self._prefix = URL(config.base_url).raw_path.rstrip("/")

    def headers_of(self, asked: CIMultiDictProxy[str]) -> CIMultiDict[str]:
        """Return the request headers that cross; where we sign, without the caller's signature."""
        headers = to_provider(asked)
        if self._signer is None or brings_a_key(headers):
            return headers
        return CIMultiDict((name, value) for name, value in headers.items() if not is_signature(name.lower()))

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connected: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Send the request and yield the answer once its headers are there.

        ``connected`` is called when there is a connection, before a byte is sent on it. Raises UpstreamUnreachable or
        UpstreamTimeout where the provider was not reached, ReachedError where it may have been.
        """
        limits = self.config.timeout_seconds
        url = self._origin.join(URL.build(path=self._prefix + path, query_string=query, encoded=True))
        if self._signer is not None and not brings_a_key(headers):
            headers = await self._signer.signed(method, url, headers, body)
        line = Line(connected)
        try:
            async with asyncio.timeout(limits.first_byte):
                answer = await self._session.request(
                    method,
                    url,
                    data=body or None,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(sock_connect=min(limits.connect, limits.first_byte)),
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                    trace_request_ctx=line,
                )
        except TimeoutError as error:
            if line.connected:
                raise ReachedError(UpstreamTimeout(f"'{self.name}' did not answer in time.")) from error
            raise UpstreamTimeout(f"'{self.name}' did not accept a connection in time.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if line.connected:
                raise ReachedError(UpstreamUnreachable(f"'{self.name}' hung up before it answered.")) from error
            raise UpstreamUnreachable(f"'{self.name}' cannot be reached.") from error
        try:
            yield answer
        finally:
            # Closes the connection unless the answer was read to its end: hanging up is what stops a provider's bill.
            answer.close()


class Line:
    """Whether one exchange has a connection: from then on its provider may have been reached."""

    def __init__(self, told: Callable[[], None]) -> None:
        self.connected = False
        self._told = told

    def connect(self) -> None:
        """Take that there is one."""
        self.connected = True
        self._told()


async def _on_connected(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
    context.trace_request_ctx.connect()


async def chunks_of(answer: aiohttp.ClientResponse, idle_s: float) -> AsyncIterator[bytes]:
    """Yield the answer's bytes as they come. Raises ReachedError when the provider stalls or breaks off."""
    try:
        while True:
            # Not aiohttp's sock_read: its timer is set when bytes arrive, and would be the first byte's.
            async with asyncio.timeout(idle_s):
                chunk = await answer.content.readany()
            if not chunk:
                return
            yield chunk
    except TimeoutError as error:
        raise ReachedError(UpstreamTimeout("The provider's answer stalled.")) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ReachedError(UpstreamUnreachable("The provider broke its answer off.")) from error


def to_provider(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the request headers that cross."""
    dropped = NOT_TO_PROVIDER | _named_by_connection(headers)
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in dropped and not lower.startswith("x-penia-")
    )


def to_caller(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the answer headers that cross."""
    dropped = NOT_TO_CALLER | _named_by_connection(headers)
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in dropped and not lower.startswith("x-penia-")
    )


def _named_by_connection(headers: Mapping[str, str]) -> set[str]:
    named = headers.get("Connection")
    return {token.strip().lower() for token in named.split(",")} if named else set()


def session_for_providers() -> aiohttp.ClientSession:
    """Return the one session that provider calls go through."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_on_connected)
    trace.on_connection_reuseconn.append(_on_connected)
    return aiohttp.ClientSession(
        trace_configs=[trace],
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=0, keepalive_timeout=KEEPALIVE_SECONDS),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=65_536,
        max_field_size=65_536,
    )
