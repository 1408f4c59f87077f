"""
Read a request's body.

Its one job: all of it, bounded in size and time.
"""

import asyncio
from collections.abc import Callable

from aiohttp import StreamReader, web

from penia_proxy.config import ServerConfig
from penia_proxy.errors import InvalidRequest, PayloadTooLarge, RequestTimeout

MEGABYTE = 1024 * 1024


async def body_of(request: web.Request, server: ServerConfig, carry: Callable[[int], None]) -> bytes:
    """
    Return the body; ``carry`` is told of each piece, and raises Overloaded where there is no room for it.

    Raises PayloadTooLarge, RequestTimeout, InvalidRequest.
    """
    if not request.can_read_body:
        return b""
    bytes_max = int(server.max_body_mb * MEGABYTE)
    if (request.content_length or 0) > bytes_max:
        raise _too_large(server)
    try:
        if request.content.is_eof():  # as most are: it came with its head, and needs no timer
            body = request.content.read_nowait()
            carry(len(body))
        else:
            async with asyncio.timeout(server.body_timeout_s):
                body = await _read(request.content, bytes_max, carry)
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.") from error
    except (OSError, web.RequestPayloadError) as error:
        raise InvalidRequest("The body broke off.") from error
    if len(body) > bytes_max:
        raise _too_large(server)
    return body


def _too_large(server: ServerConfig) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {server.max_body_mb:g} MB.")


async def _read(content: StreamReader, bytes_max: int, carry: Callable[[int], None]) -> bytes:
    """Read to the end, or a little more than is accepted."""
    pieces: list[bytes] = []
    size = 0
    while size <= bytes_max and (piece := await content.readany()):
        size += len(piece)
        carry(len(piece))
        pieces.append(piece)
    return b"".join(pieces)
