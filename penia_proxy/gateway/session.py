"""
Call providers through aiohttp's client.

Its one job: the other client, to compare `penia_proxy.gateway.lean` with and to fall back to.
Rules: no redirects, no proxies from the environment, no decompression.
"""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from penia_proxy.config import TimeoutsConfig
from penia_proxy.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from penia_proxy.gateway.upstream import CONNECTIONS_MAX, HEAD_BYTES_MAX, KEEPALIVE_SECONDS, Outgoing, ReachedError

PIECEWISE_BYTES = 1_048_576


class SessionAnswer:
    """See `penia_proxy.gateway.upstream.Answer`."""

    def __init__(self, answer: aiohttp.ClientResponse, idle_s: float) -> None:
        self._answer = answer
        self._idle_s = idle_s
        self.broke: UpstreamError | None = None

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def reason(self) -> str:
        return self._answer.reason or ""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._answer.headers

    @property
    def waits(self) -> bool:
        return True

    async def chunk(self) -> bytes:
        try:
            # Not aiohttp's sock_read: its timer is set when bytes arrive, and would be the first byte's.
            async with asyncio.timeout(self._idle_s):
                return await self._answer.content.readany()
        except TimeoutError as error:
            self.broke = UpstreamTimeout("The provider's answer stalled.")
            raise ReachedError(self.broke) from error
        except (aiohttp.ClientError, OSError) as error:
            self.broke = UpstreamUnreachable("The provider broke its answer off.")
            raise ReachedError(self.broke) from error

    def close(self) -> None:
        self._answer.close()


class SessionClient:
    """See `penia_proxy.gateway.upstream.Client`."""

    def __init__(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_on_connected)
        trace.on_connection_reuseconn.append(_on_connected)
        self._session = aiohttp.ClientSession(
            trace_configs=[trace],
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_SECONDS
            ),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
        )

    async def send(self, request: Outgoing, limits: TimeoutsConfig, connected: Callable[[], None]) -> SessionAnswer:
        try:
            async with asyncio.timeout(limits.first_byte):
                path, _, query = request.target.partition("?")
                answer = await self._session.request(
                    request.method,
                    request.origin.join(URL.build(path=path, query_string=query, encoded=True)),
                    data=_payload(request.body),
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(sock_connect=min(limits.connect, limits.first_byte)),
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                    trace_request_ctx=connected,
                )
        except aiohttp.ClientError as error:
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionError(str(error)) from error
        if answer.status < 200:
            answer.close()
            raise ConnectionError("it switched protocols, which nobody asked for")
        return SessionAnswer(answer, limits.idle)

    async def close(self) -> None:
        await self._session.close()


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    # aiohttp writes bytes at once, and warns where they are so many; of a file it writes a piece at a time.
    return io.BytesIO(body) if len(body) > PIECEWISE_BYTES else body or None


async def _on_connected(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
    context.trace_request_ctx()
