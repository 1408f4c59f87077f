"""
Open a provider's WebSocket.

Its one job: one upgrade at a configured provider, with the caller's headers and subprotocols, or its refusal as it is.
Rules: as in `penia_proxy.gateway.relay`: no redirects, no proxies from the environment. An open connection costs
nothing: what costs is what is said over it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from penia_proxy.config import TimeoutsConfig
from penia_proxy.errors import UpstreamTimeout, UpstreamUnreachable
from penia_proxy.gateway.upstream import HEAD_BYTES_MAX
from penia_proxy.watch.attempts import Attempts

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""Of a provider's message. The largest known are pictures of a few megabytes; OpenAI takes 15 MB of sound at once."""

REFUSAL_BYTES_MAX = 1024 * 1024

CLOSE_S = 1.0
"""How long the other side may take to say goodbye."""

ProviderSocket = aiohttp.ClientWebSocketResponse[Literal[False]]


def is_of_handshake(name: str) -> bool:
    """Whether a header belongs to one side's handshake, and does not cross."""
    return name.lower().startswith("sec-websocket-")


class UpgradeRefused(Exception):
    """The provider answered the upgrade otherwise than by making it; that is the caller's answer."""

    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        super().__init__(f"status {answer.status}")
        self.status = answer.status
        self.reason = answer.reason
        self.headers = answer.headers
        self.body = body


async def _only_upgrades(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from following a redirect, and from losing the body of a refusal."""
    answer = await handler(request)
    if answer.status == 101:
        return answer
    try:
        body = b""
        while len(body) < REFUSAL_BYTES_MAX and (chunk := await answer.content.readany()):
            body += chunk
    finally:
        answer.close()
    raise UpgradeRefused(answer, body)


def session_for_sockets() -> aiohttp.ClientSession:
    """Return the one session that providers' WebSockets are opened by."""
    return aiohttp.ClientSession(
        middlewares=(_only_upgrades,),
        # Bounded by the sessions there may be, each of which has one.
        connector=aiohttp.TCPConnector(limit=0),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
    )


class Opening(NamedTuple):
    """The provider's side of a session to be."""

    provider: str
    url: URL
    headers: CIMultiDict[str]
    """Those that cross, of the caller's handshake."""
    limits: TimeoutsConfig
    attempts: Attempts


@asynccontextmanager
async def dialled(
    session: aiohttp.ClientSession, opening: Opening, protocols: Iterable[str]
) -> AsyncIterator[ProviderSocket]:
    """
    Yield the provider's WebSocket, open; leaving closes it.

    Raises UpgradeRefused, UpstreamUnreachable, UpstreamTimeout.
    """
    # Key and version of a handshake are each side's own.
    headers = [(name, value) for name, value in opening.headers.items() if not is_of_handshake(name)]
    try:
        async with asyncio.timeout(opening.limits.connect):
            socket = await session.ws_connect(
                opening.url,
                headers=headers,
                protocols=protocols,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                autoclose=False,
                autoping=False,
                max_msg_size=MESSAGE_BYTES_MAX,
                decode_text=False,
            )
    except TimeoutError as error:
        opening.attempts.failed("timeout")
        raise UpstreamTimeout(f"'{opening.provider}' did not open a WebSocket in time.") from error
    except UpgradeRefused as refused:
        opening.attempts.answered(refused.status)
        if refused.status < 300:
            raise UpstreamUnreachable(f"'{opening.provider}' opens no WebSocket there.") from refused
        raise
    except (aiohttp.ClientError, OSError, ValueError) as error:
        opening.attempts.failed("unreachable")
        raise UpstreamUnreachable(f"'{opening.provider}' cannot be reached, or does not speak WebSocket.") from error
    opening.attempts.answered(101)
    try:
        yield socket
    finally:
        await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
