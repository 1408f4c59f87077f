"""
TLS before a gateway, as whoever runs one beyond loopback has it.

Its one job: a listener with a certificate that passes what it hears on to a plain port of this machine.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit


@asynccontextmanager
async def behind_tls(url: str, certificate: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Yield the https address of what listens at a plain one, and what a client trusts it by."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    port = urlsplit(url).port

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=own)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", trusting
    finally:
        server.close()
